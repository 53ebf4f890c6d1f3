"""``zjj run``: starts whole, says what is wrong, restarts what falls, leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket

from tests.journeys.houses import House

COMMANDS = ("\0gateway", "\0urgent", "\0standard,bulk")
"""Arguments by which the gateway and the two workers are told apart."""


def test_a_demo_sends_one_code_and_leaves_nothing_running(house: House) -> None:
    done = house.command("run", "--demo", PHONE="16400009999")
    assert done.returncode == 0, done.stdout + done.stderr
    for fact in ("succeeded", "aliyun_sms", "user.contact.phone_number", "一(1)1", "scene", "ms"):
        assert fact in done.stdout
    assert "16400009999" not in done.stdout
    assert house.pids() == []


def test_a_demo_whose_code_is_refused_exits_with_1(house: House) -> None:
    # The account's real credentials are not the sandbox's: the signature is refused.
    house.environment |= {"ZJJ_WORKER_THREADS": "1"}
    done = house.command("run", "--demo", "--phone", "16400000000000")
    assert done.returncode == 2
    assert "is not a mainland mobile number" in done.stderr
    assert "16400000000000" not in done.stdout + done.stderr


def test_data_survives_a_restart(house: House) -> None:
    house.start()
    job_id = house.enqueue("16400001111")
    assert house.settled(job_id)["state"] == "succeeded"
    assert house.stop() == 0
    assert house.pids() == []
    house.start()
    assert house.job(job_id)["state"] == "succeeded"


def test_what_became_of_a_text_is_told_by_its_receipt(house: House) -> None:
    house.start()
    assert house.settled(house.enqueue("16400003333"))["state"] == "succeeded"

    def delivered() -> bool:
        told = json.loads(house.command("sms", "deliveries", "--json").stdout)
        return bool(sum(figures["delivered"] for figures in told) == 2)

    # That one and the demonstration's own.
    house.await_(delivered, "both texts are reported")


def test_a_taken_port_is_named_with_a_way_out(house: House) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", house.port))
        other.listen()
        done = house.command("run", "--demo")
    assert done.returncode == 2
    assert f"Port {house.port}" in done.stderr
    assert f"ZJJ_GATEWAY_PORT={house.port + 1}" in done.stderr
    assert house.pids() == []


def test_a_second_run_in_the_same_folder_is_refused(house: House) -> None:
    house.start()
    done = house.command("run", "--demo")
    assert done.returncode == 2
    assert "Another `zjj run`" in done.stderr


def test_after_a_hard_kill_the_parts_stop_by_themselves_and_the_next_run_works(
    house: House,
) -> None:
    house.start()
    house.kill_supervisor()
    # Redis has no lifeline; the next run finds it and ends it.
    house.await_(lambda: not house.pids("workers.cli"), "workers and gateway stop")
    done = house.command("run", "--demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert house.pids() == []


def test_a_worker_that_falls_over_is_restarted(house: House) -> None:
    house.start()
    (worker,) = house.pids("urgent")
    os.kill(worker, signal.SIGKILL)
    assert house.settled(house.enqueue("16400002222"))["state"] == "succeeded"
    assert "worker-urgent ended" in house.said()


def test_the_gateway_goes_before_the_workers(house: House) -> None:
    house.start()
    (gateway,), (urgent,), (others,) = map(house.pids, COMMANDS)
    niceness = [os.getpriority(os.PRIO_PROCESS, pid) for pid in (gateway, urgent, others)]
    assert niceness == sorted({*niceness})
    # Linux weighs sessions before niceness (man sched, "The autogroup feature").
    assert os.getsid(gateway) == os.getsid(urgent) == os.getsid(others)


def test_ctrl_c_reaches_nobody_but_the_supervisor(house: House) -> None:
    house.start()
    parts = house.pids("workers.cli")
    assert len(parts) > 3
    assert len({os.getpgid(pid) for pid in parts}) == len(parts)


def test_production_refuses_the_embedded_default(house: House) -> None:
    done = house.command("run", ZJJ_ENV="production")
    assert done.returncode == 2
    assert "ZJJ_DATABASE_URL must be set" in done.stderr


def test_chinese_readers_get_chinese(house: House) -> None:
    done = house.command("run", "--demo", ZJJ_LANG="zh")
    assert done.returncode == 0
    assert "对外提供的信息" in done.stdout
