"""Functions run in another process."""

import multiprocessing

import pytest

TIMEOUT = 60  # seconds after which a process counts as hung

METHODS = [
    method
    for method in ("fork", "spawn")
    if method in multiprocessing.get_all_start_methods()
]


def _send(connection, function, arguments):
    try:
        connection.send((True, function(*arguments)))
    except BaseException as error:
        connection.send((False, repr(error)))


def run(method, function, *arguments, timeout=TIMEOUT):
    """What a function returns in another process; a hang fails."""
    context = multiprocessing.get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        if not receiver.poll(timeout):
            pytest.fail(f"{method}: no answer within {timeout} s")
        worked, result = receiver.recv()
    finally:
        process.kill()
        process.join()
        receiver.close()
    assert worked, result
    return result
