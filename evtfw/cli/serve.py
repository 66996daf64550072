"""``evtfw serve``: models for other processes, over gRPC as Triton speaks it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from evtfw.cli.exit_codes import exit_code_lines
from evtfw.cli.session import Command, Session, paragraphs

_file = click.Path(exists=True, dir_okay=False)


@click.command(
    cls=Command,
    short_help="offer models to other processes as a Triton server does",
    epilog=paragraphs(
        [
            "Examples:",
            "  evtfw serve --model toptag=cpu:toptag",
            "  evtfw serve --model-repository models --grpc 127.0.0.1:0 --metrics 127.0.0.1:8002",
            "  evtfw serve --model toptag='cpu:toptag?threads=4' --set toptag.max_batch=8 --set queue_size=100",
            "  evtfw serve --model m=cpu:toptag --grpc 0.0.0.0:8001 --tls-cert c.pem --tls-key k.pem --token-file f",
        ],
        [
            "Options of --set:",
            "  max_batch, preferred_batch (2+4+8), queue_delay_ms, gather_ms  how batches are put together",
            "  queue_size, queue_timeout_ms, queue_bytes                      what may wait",
            "  priority_levels, default_priority, instances                   see the how-to page on services",
        ],
        [
            "Signals:",
            "  SIGINT, SIGTERM  refuse new requests, finish the others and leave; once more: leave at once",
        ],
        exit_code_lines(),
    ),
)
@click.option("--model", "models", multiple=True, metavar="NAME=URL", help="serve this backend; may be repeated")
@click.option("--set", "settings", multiple=True, metavar="[NAME.]OPTION=VALUE", help="how it is served; see below")
@click.option(
    "--model-repository", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Triton's layout"
)
@click.option("--grpc", "address", default="127.0.0.1:8001", show_default=True, metavar="HOST:PORT", help="port 0: any")
@click.option("--metrics", metavar="HOST:PORT", help="answer Prometheus there")
@click.option("--tls-cert", type=_file, metavar="FILE", help="certificate chain of the service, PEM")
@click.option("--tls-key", type=_file, metavar="FILE", help="its private key, PEM")
@click.option("--tls-client-ca", type=_file, metavar="FILE", help="who may sign clients' certificates; they need one")
@click.option("--token-file", type=_file, metavar="FILE", help="clients must know what stands in it")
@click.option("--insecure", is_flag=True, help="other machines may connect without TLS or token")
@click.option("--allow-shared-memory", is_flag=True, help="clients here may pass tensors in shared memory")
@click.option("--allow-load", is_flag=True, help="clients may load and unload models of the repository")
@click.option("-t", "--threads", type=click.IntRange(0), default=0, metavar="N", help="cores to use; 0: all")
@click.option("--drain-timeout", type=click.FloatRange(0), default=30.0, show_default=True, metavar="SECONDS")
@click.option("--switch-interval", type=click.FloatRange(0), default=0.0002, show_default=True, metavar="SECONDS")
@click.option("--ready-file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="addresses, JSON")
@click.option("--parent-pid", type=click.IntRange(1), metavar="PID", help="end with this process, which started it")
@click.option("--until-stdin-closes", is_flag=True, help="end when nobody holds the other end of standard input")
@click.option("-q", "--quiet", is_flag=True, help="show only the address, warnings and errors")
@click.pass_obj
def serve(session: Session, /, **options: Any) -> int:
    """Serve models to other processes, over gRPC with the KServe v2 protocol as Triton speaks it.

    URL is that of any backend, for example cpu:toptag or cpu:./model.onnx. A repository has Triton's layout:
    DIR/NAME/config.pbtxt and DIR/NAME/1/model.onnx. The first line of the output is the address, when it is ready.
    """
    from evtfw.cli.signals import fail_on_closed_pipes
    from evtfw.cli.tuning import set_switch_interval, tune_allocator, tune_grpc

    fail_on_closed_pipes()
    tune_allocator()
    tune_grpc()
    set_switch_interval(options.pop("switch_interval") or None)
    from evtfw.cli.serving import Serving  # it imports grpc, which reads its environment only once

    return Serving(session, **options).run()
