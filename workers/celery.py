"""The Celery application: queues, beat's timetable, and ``enqueue``.

Messages are wake-up calls that may be lost, repeated or late; Redis keys alone remember what is to
be done. So nothing here retries for ever, keeps results, or carries state.
"""

from typing import Any, Final

from celery import Celery, signals
from kombu import Queue

from workers.contract import calls, logs, settings

_QUEUES: Final = {
    calls.Task.REFRESH: calls.REFRESH_QUEUE,
    calls.Task.SWEEP: calls.REFRESH_QUEUE,
}

app = Celery("cpdfeed", include=["workers.tasks"])


def _configuration() -> dict[str, Any]:
    """Give Celery's configuration; called when it is first needed, never at import."""
    ours = settings.load_or_exit()
    broker = ours.broker_url.reveal()
    return {
        # kombu's name for a Unix socket differs from redis-py's
        "broker_url": broker.replace("unix://", "redis+socket://", 1),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            "global_keyprefix": "cpdfeed:celery:",
            "socket_connect_timeout": 3,
            # A refresh is bounded well below this. A second delivery of a running one is harmless:
            # it finds the lease taken.
            "visibility_timeout": 300,
        }
        if broker.startswith(("redis", "unix"))
        else {},
        "beat_schedule": {
            "sweep": {
                "task": calls.Task.SWEEP,
                "schedule": ours.sweep_s,
                # A sweep that waited longer than the next one is of no use.
                "options": {"queue": calls.REFRESH_QUEUE, "expires": max(ours.sweep_s, 1)},
            }
        },
        "beat_scheduler": "celery.beat:Scheduler",  # in memory: there is nothing to remember
        "beat_max_loop_interval": min(ours.sweep_s, 5),
        "task_queues": [Queue(calls.REFRESH_QUEUE), Queue(calls.DISPATCH_QUEUE)],
        "task_default_queue": calls.REFRESH_QUEUE,
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "timezone": "UTC",
    }


app.add_defaults(_configuration)


@signals.setup_logging.connect
def _set_up_logging(**_: object) -> None:
    """Log as the rest of cpdfeed does."""
    ours = settings.load_or_exit()
    logs.configure(ours.log_format, ours.log_level)


def enqueue(call: calls.Call) -> None:
    """Send one wake-up call to the broker.

    Raises:
        kombu.exceptions.OperationalError: The broker is away; whoever calls may leave it at that,
            the sweep repairs what was lost.
    """
    app.send_task(
        call.task,
        args=call.args,
        queue=_QUEUES[call.task],
        countdown=call.delay_s or None,
        ignore_result=True,
    )
