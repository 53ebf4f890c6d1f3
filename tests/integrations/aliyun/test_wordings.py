from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

import integrations.aliyun
from integrations.aliyun.wordings import check_promises, load_wordings, template_codes
from integrations.policy import load_policy
from models.errors import ConfigurationError
from tasks.sms_code import Scene

POLICY = load_policy()
SCENES = get_args(Scene)
TEXT = (Path(integrations.aliyun.__file__).parent / "wordings.toml").read_text("utf-8")


def test_the_packaged_wordings_have_a_text_for_every_scene_on_every_road() -> None:
    found = load_wordings(POLICY, SCENES)
    assert {road: set(texts) for road, texts in found.items()} == {
        "aliyun_sms": set(SCENES),
        "aliyun_sms_auth": set(SCENES),
    }


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("[aliyun_sms.login]", "[aliyun_sms.logout]", "aliyun_sms.login: is missing"),
        ("[aliyun_sms.login]", "[pigeon.login]", "pigeon: is no road"),
        (
            "[aliyun_sms.login]",
            '[aliyun_sms.gift]\nvariables=["code"]\nwording="${code}"\n[aliyun_sms.login]',
            "aliyun_sms.gift: is no scene",
        ),
        (
            'variables = ["code"]',
            'variables = ["code", "name"]',
            "aliyun_sms.register.variables: must be exactly code",
        ),
        ('variables = ["code"]', 'variables = ["code", "code"]', "aliyun_sms.register.variables"),
        ("是${code}", "是${name}", "aliyun_sms.register.wording"),
        ("是${code}", "是$code", "aliyun_sms.register.wording"),
        ("请勿", "请勿" * 20, "aliyun_sms.register.wording: may come to"),
        ('wording = "您', 'words = "您', "aliyun_sms.register"),
        (
            'variables = ["code"]',
            'variables = ["code"]\ntemplate_code = "free text"',
            "aliyun_sms.register.template_code",
        ),
        ("[aliyun_sms.login]", "[aliyun_sms.login", "no TOML"),
    ],
)
def test_a_mistake_in_the_file_is_named_by_its_place(
    tmp_path: Path, old: str, new: str, place: str
) -> None:
    path = tmp_path / "wordings.toml"
    path.write_text(TEXT.replace(old, new, 1), "utf-8")
    with pytest.raises(ConfigurationError, match=place.replace(".", r"\.")):
        load_wordings(POLICY, SCENES, path)


@pytest.mark.parametrize("road", ["aliyun_sms", "aliyun_sms_auth"])
def test_no_text_promises_a_code_a_longer_life_than_it_has(road: str) -> None:
    texts = load_wordings(POLICY, SCENES)[road]
    check_promises(POLICY, road, texts, 300)
    with pytest.raises(ConfigurationError, match=rf"{road}\.\w+\.wording: promises 5 minutes"):
        check_promises(POLICY, road, texts, 299)


def test_a_text_that_names_no_time_promises_none() -> None:
    texts = load_wordings(POLICY, SCENES)["aliyun_sms"]
    bare = {"login": texts["login"].model_copy(update={"wording": "验证码${code}"})}
    check_promises(POLICY, "aliyun_sms", bare, 60)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_wordings(POLICY, SCENES, tmp_path / "nowhere.toml")


def test_a_templates_code_comes_from_the_setting_the_file_or_the_default() -> None:
    texts = dict(load_wordings(POLICY, SCENES)["aliyun_sms"])
    texts["login"] = texts["login"].model_copy(update={"template_code": "SMS_2"})
    codes = template_codes(texts, {"register": "SMS_1", "default": "SMS_9"}, setting="Z")
    assert (codes["register"], codes["login"], codes["bind_phone"]) == ("SMS_1", "SMS_2", "SMS_9")


@pytest.mark.parametrize(
    ("given", "named"),
    [({"default": "SMS_1", "logim": "SMS_2"}, "logim"), ({"login": "SMS_1"}, "bind_phone")],
)
def test_a_scene_that_is_unknown_or_left_out_is_named(given: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"ZJJ_X.*{named}"):
        template_codes(load_wordings(POLICY, SCENES)["aliyun_sms"], given, setting="ZJJ_X")
