import sys
import threading
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from evtfw.io.row_queue import RowQueue
from tests.io.fake_events import chunk_of

CHUNK = chunk_of(1)


def row(index, *, kept=True, chunk=CHUNK):
    return (index, chunk if kept else None, 0, (index,))


def indices(batches):
    return [row[0] for row in chain.from_iterable(batches)]


@given(st.lists(st.booleans(), max_size=60).flatmap(lambda k: st.tuples(st.just(k), st.permutations(range(len(k))))))
def test_rows_come_in_order_of_input_whatever_order_they_are_put_in(case):
    kept, order = case
    queue = RowQueue(ordered=True)
    for index in order:
        queue.put(row(index, kept=kept[index]))
    queue.close()
    assert indices(queue.batches()) == [i for i, is_kept in enumerate(kept) if is_kept]


def test_unordered_rows_come_as_they_were_put():
    queue = RowQueue(ordered=False)
    for index in (3, 1, 2):
        queue.put(row(index))
    queue.close()
    assert indices(queue.batches()) == [3, 1, 2]


def test_rows_behind_a_gap_that_never_closes_come_at_the_end():
    queue = RowQueue(ordered=True)
    for index in (5, 0, 3):
        queue.put(row(index))
    queue.close()
    assert indices(queue.batches()) == [0, 3, 5]


def test_many_threads_and_a_writer_that_runs_beside_them():
    events, threads = 20_000, 4
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        queue = RowQueue(ordered=True, wake_rows=7, limit_rows=32)
        written = []
        writer = threading.Thread(target=lambda: written.extend(indices(queue.batches())))
        writer.start()

        def work(start):
            for index in range(start, events, threads):
                queue.put(row(index, kept=index % 3 > 0))

        workers = [threading.Thread(target=work, args=(start,)) for start in range(threads)]
        for thread in workers:
            thread.start()
        for thread in workers:
            thread.join(60)
        queue.close()
        writer.join(60)
    finally:
        sys.setswitchinterval(interval)
    assert written == [i for i in range(events) if i % 3 > 0]


def test_put_waits_while_the_writer_is_behind_and_goes_on_when_it_is_not():
    queue = RowQueue(ordered=True, wake_rows=2, limit_rows=4)
    passed = threading.Semaphore(0)

    def work():
        for index in range(6):
            queue.put(row(index))
            passed.release()

    worker = threading.Thread(target=work)
    worker.start()
    for _ in range(3):
        assert passed.acquire(timeout=60)
    assert not passed.acquire(timeout=0.05)  # the fourth waits
    batches = queue.batches()
    taken = next(batches)
    worker.join(60)
    queue.close()
    assert indices([taken, *batches]) == list(range(6))
    assert queue.blocked_s > 0


def test_a_larger_limit_releases_who_waits_at_the_old_one():
    queue = RowQueue(ordered=True, wake_rows=2, limit_rows=4)
    worker = threading.Thread(target=lambda: [queue.put(row(index)) for index in range(6)])
    worker.start()
    while worker.is_alive() and len(queue._arrivals) < 4:
        worker.join(0.001)
    queue.resize(10_000)
    worker.join(60)
    assert not worker.is_alive()
    queue.close()
    assert indices(queue.batches()) == list(range(6))


def test_rows_that_overtook_a_missing_one_do_not_make_put_wait():
    # The missing event may need the thread that would wait.
    queue = RowQueue(ordered=True, wake_rows=1, limit_rows=4)
    written = []
    writer = threading.Thread(target=lambda: written.extend(indices(queue.batches())))
    writer.start()
    for index in range(1, 200):
        queue.put(row(index))
    queue.put(row(0))
    queue.close()
    writer.join(60)
    assert written == list(range(200))


def test_a_broken_queue_holds_nobody_up():
    queue = RowQueue(ordered=True, wake_rows=2, limit_rows=4)
    worker = threading.Thread(target=lambda: [queue.put(row(index)) for index in range(100)])
    worker.start()
    queue.break_off()
    worker.join(60)
    assert not worker.is_alive()


def test_a_new_chunk_wakes_the_writer_so_that_the_old_one_can_go():
    queue = RowQueue(ordered=True, wake_rows=1000)
    queue.put(row(0))
    queue.put(row(1, chunk=chunk_of(1)))
    assert indices([next(queue.batches())]) == [0, 1]
