"""What runs beside the jobs, in every worker: one module for each service.

All of them may run in many workers at once; each keeps its transactions short and skips rows that
somebody else has locked.
"""

from workers.maintenance.alarms import Alarms
from workers.maintenance.expirer import Expirer
from workers.maintenance.heartbeat import Heartbeat
from workers.maintenance.herald import Herald
from workers.maintenance.inquirer import Inquirer
from workers.maintenance.pruner import Pruner
from workers.maintenance.reconciler import Reconciler
from workers.maintenance.redispatcher import Redispatcher
from workers.maintenance.replayer import Replayer
from workers.maintenance.rescuer import Rescuer
from workers.maintenance.resumer import Resumer
from workers.maintenance.scheduler import Scheduler
from workers.maintenance.service import Rounds, Service
from workers.maintenance.shortener import Shortener

__all__ = [
    "Alarms",
    "Expirer",
    "Heartbeat",
    "Herald",
    "Inquirer",
    "Pruner",
    "Reconciler",
    "Redispatcher",
    "Replayer",
    "Rescuer",
    "Resumer",
    "Rounds",
    "Scheduler",
    "Service",
    "Shortener",
]
