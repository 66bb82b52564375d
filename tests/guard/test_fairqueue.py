"""Who gets the next place: limits, order, shares, bounds, estimates."""

import heapq
import math
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.guard.fairqueue import FairQueue, Waiter
from llmrouterd.model import Slots


def queue_of(at_once=1, **more):
    return FairQueue(Slots(at_once=at_once, **more))


def wants(queue, client="ann", model="m", now=0.0, *, tokens=100.0, batch=False):
    waiter = Waiter(client, model, tokens, batch)
    queue.offer(waiter, now)
    return waiter


def order(queue, now=0.0, took_s=1.0):
    """Everybody's client and model in the order in which they get a place, one after the other."""
    out = []
    while queue.running:
        [at_work] = list(queue._running)
        out.append(at_work)
        now += took_s
        queue.leave(at_work, now, served=True)
    return out


def clients(waiters):
    return "".join(each.client[0] for each in waiters)


def models(waiters):
    return "".join(each.model for each in waiters)


# --- places ---------------------------------------------------------------------------------------


def test_a_free_place_is_had_at_once():
    queue = queue_of(2)
    assert [wants(queue).state for _ in range(3)] == ["running", "running", "waiting"]


def test_a_place_is_passed_on():
    queue = queue_of()
    first, second = wants(queue), wants(queue)
    assert queue.leave(first, 1.0) == [second]
    assert second.state == "running"
    queue.leave(second, 2.0)
    assert queue.idle


def test_one_that_leaves_the_queue_gets_no_place():
    queue = queue_of()
    first, second, third = wants(queue), wants(queue), wants(queue)
    assert queue.leave(second, 0.5) == []
    assert queue.leave(first, 1.0) == [third]


def test_leaving_twice_is_leaving_once():
    queue = queue_of()
    first, second, third = wants(queue), wants(queue), wants(queue)
    queue.leave(first, 1.0)
    assert queue.leave(first, 1.0) == []
    assert (second.state, third.state) == ("running", "waiting")


def test_each_model_has_its_own_limit():
    queue = queue_of(3, per_model=(("big*", 1),))
    wants(queue, model="big-a")
    assert wants(queue, model="big-a").state == "waiting"
    assert wants(queue, model="big-b").state == "running"
    assert wants(queue, model="small").state == "running"
    assert wants(queue, model="small").state == "waiting"


def test_who_waits_for_a_model_holds_up_nobody_else():
    queue = queue_of(2, per_model=(("big", 1),))
    wants(queue, model="big")
    wants(queue, model="big")
    assert wants(queue, model="small").state == "running"


def test_with_limits_of_models_only_all_others_pass():
    queue = queue_of(0, per_model=(("big", 1),))
    wants(queue, model="big")
    assert wants(queue, model="big").state == "waiting"
    assert {wants(queue, model="small").state for _ in range(50)} == {"running"}


# --- order ----------------------------------------------------------------------------------------


def test_one_client_is_served_in_the_order_of_arrival():
    queue = queue_of()
    came = [wants(queue) for _ in range(5)]
    assert order(queue) == came


def test_interactive_goes_before_batch():
    queue = queue_of()
    wants(queue, "zoe")
    wants(queue, "bob", batch=True)
    wants(queue, "ann")
    wants(queue, "bob", batch=True)
    assert clients(order(queue)) == "zabb"


def test_batch_of_a_while_ago_counts_as_interactive():
    queue = queue_of(batch_wait_s=10.0)
    first = wants(queue, "zoe")
    old = wants(queue, "bob", batch=True)
    wants(queue, "ann", now=9.0)
    wants(queue, "cyd", now=9.5)
    assert queue.leave(first, 9.9)[0].client == "ann"
    queue = queue_of(batch_wait_s=10.0)
    first = wants(queue, "zoe")
    old = wants(queue, "bob", batch=True)
    wants(queue, "ann", now=9.0)
    assert queue.leave(first, 10.0) == [old]


def test_clients_take_turns_however_much_one_of_them_sends():
    queue = queue_of()
    for _ in range(6):
        wants(queue, "ann")
    for _ in range(2):
        wants(queue, "bob")
    assert clients(order(queue)) == "ababaaaa"


def test_turns_go_by_what_was_taken_and_not_by_the_number_of_requests():
    queue = queue_of()
    now = 0.0
    came = [wants(queue, name) for name in ["ann", "ann", "bob", "bob", "bob", "bob", "bob"]]
    held = {"ann": 4.0, "bob": 1.0}
    out = []
    while queue.running:
        [at_work] = list(queue._running)
        out.append(at_work)
        now += held[at_work.client]
        queue.leave(at_work, now, served=True)
    assert clients(out) == "abbbbab"
    assert len(came) == 7


def test_nobody_saves_up_what_was_not_used():
    queue = queue_of(timeout_s=0.0)
    now = 0.0
    for _ in range(50):  # an hour of ann's, and bob was there in the beginning
        now += 60.0
        queue.leave(wants(queue, "ann", now=now), now + 60.0, served=True)
    first = wants(queue, "ann", now=now)
    for _ in range(4):
        wants(queue, "bob", now=now)
        wants(queue, "ann", now=now)
    assert first.state == "running"
    assert clients(order(queue, now)) in {"ababababa", "abababaab"}


def test_a_wrong_estimate_is_put_right():
    """ann says that her requests are large, and they are not."""
    queue = queue_of()
    teach(queue)
    first = wants(queue, "ann", tokens=1000.0)
    for _ in range(3):
        wants(queue, "ann", tokens=1000.0)
        wants(queue, "bob", tokens=100.0)
    assert first.charged_s == pytest.approx(10.0)
    assert sorted(clients(order(queue))[:4]) == ["a", "a", "b", "b"]


def teach(queue, *, tokens=100.0, took_s=1.0, model="m"):
    """One request that took so long."""
    waiter = wants(queue, "teacher", model, now=0.0, tokens=tokens)
    queue.leave(waiter, took_s, served=True)


# --- models in memory -----------------------------------------------------------------------------


def swapping(**more):
    return queue_of(max_loaded=1, **{"swap_wait_s": 10.0, "residency_s": 0.0} | more)


def test_requests_for_the_model_in_memory_go_first():
    queue = swapping()
    for model in "abababab":
        wants(queue, model=model)
    assert models(order(queue)) == "aaaabbbb"


def test_but_only_for_so_long():
    queue = swapping(swap_wait_s=3.0)
    for model in "abaaaaaa":
        wants(queue, model=model)
    assert models(order(queue)) == "aaaabaaa"


def test_without_knowing_the_memory_it_is_first_come_first_served():
    queue = queue_of()
    for model in "abababab":
        wants(queue, model=model)
    assert models(order(queue)) == "abababab"


def test_a_batch_request_does_not_go_first_for_its_model_s_sake():
    queue = swapping()
    wants(queue, "ann", "a", batch=True)
    wants(queue, "ann", "a", batch=True)
    wants(queue, "bob", "b")
    assert models(order(queue)) == "aba"


def test_another_client_s_model_is_kept_a_while_although_nobody_asks_for_it():
    queue = swapping(residency_s=30.0)
    queue.leave(wants(queue, "ann", "a", 0.0), 5.0)
    waiter = wants(queue, "bob", "b", 6.0)
    assert waiter.state == "waiting"
    assert queue.wake_at == 35.0
    assert wants(queue, "ann", "a", 7.0).state == "running"
    assert queue.poll(35.0) == []  # at work
    queue.leave(next(iter(queue._running)), 36.0)
    assert waiter.state == "running"


def test_the_end_of_a_residency_lets_the_other_model_in():
    queue = swapping(residency_s=30.0)
    queue.leave(wants(queue, "ann", "a", 0.0), 5.0)
    waiter = wants(queue, "bob", "b", 6.0)
    assert queue.poll(34.9) == []
    assert queue.poll(35.0) == [waiter]
    assert queue.wake_at == math.inf


def test_whoever_is_alone_waits_for_no_residency():
    queue = swapping(residency_s=30.0)
    now = 0.0
    for model in "abcabc":
        waiter = wants(queue, "ann", model, now)
        assert waiter.state == "running"
        now += 1.0
        queue.leave(waiter, now)


def test_a_model_at_work_is_waited_for_before_another_is_loaded():
    queue = queue_of(4, max_loaded=1, swap_wait_s=0.0, residency_s=0.0)
    first = wants(queue, "ann", "a")
    other = wants(queue, "bob", "b")
    assert other.state == "waiting"
    late = wants(queue, "ann", "a")
    assert late.state == "waiting"  # bob is next, and nothing may delay him any more
    assert queue.leave(first, 1.0) == [other]


def test_the_time_of_loading_is_nobody_s():
    queue = swapping()
    teach(queue, model="a", took_s=2.0)
    queue.leave(wants(queue, "t", "a", 3.0), 5.0, served=True)
    cold = wants(queue, "ann", "b", 10.0)
    queue.leave(cold, 20.0, served=True)  # 2 s of work
    assert queue.residents.load_s.value == pytest.approx(8.0)


# --- bounds ---------------------------------------------------------------------------------------


def test_a_full_queue_refuses_with_the_time_until_there_is_room():
    queue = queue_of(max_queue=2)
    teach(queue, took_s=4.0)
    wants(queue, now=10.0)
    wants(queue, now=10.0)
    wants(queue, now=10.0)
    refused = wants(queue, now=11.0)
    assert refused.state == "gone"
    assert refused.refusal.why == "full"
    assert refused.refusal.retry_after_s == pytest.approx(3.0)
    assert queue.waiting == 2


def test_no_queue_at_all():
    queue = queue_of(max_queue=0)
    assert wants(queue).state == "running"
    assert wants(queue).refusal.why == "full"


def test_in_a_full_queue_the_newest_of_whoever_has_most_gives_way():
    queue = queue_of(max_queue=3)
    wants(queue, "ann")
    floods = [wants(queue, "ann") for _ in range(3)]
    bob = wants(queue, "bob")
    assert bob.state == "waiting"
    assert [each.state for each in floods] == ["waiting", "waiting", "gone"]
    assert floods[2].refusal.why == "full"
    assert wants(queue, "ann").refusal.why == "full"


def test_in_a_full_queue_batch_gives_way_first():
    queue = queue_of(max_queue=2)
    wants(queue, "ann")
    batch = wants(queue, "bob", batch=True)
    wants(queue, "ann")
    assert wants(queue, "ann").state == "waiting"
    assert batch.refusal.why == "full"
    assert wants(queue, "cyd", batch=True).refusal.why == "full"


def test_what_would_start_too_late_is_refused_at_once():
    queue = queue_of(timeout_s=10.0)
    teach(queue, took_s=4.0)
    assert [wants(queue, now=10.0).state for _ in range(4)] == [
        *("running", "waiting", "waiting", "gone")
    ]
    late = wants(queue, now=10.0)
    assert late.refusal.why == "late"
    assert late.refusal.estimate_s == pytest.approx(12.0)
    assert late.refusal.retry_after_s == pytest.approx(2.0)


def test_nothing_is_refused_by_an_estimate_that_nobody_has():
    queue = queue_of(timeout_s=1.0)
    assert {wants(queue).refusal for _ in range(50)} == {None}


def test_whose_time_is_over_leaves_the_queue():
    queue = queue_of(timeout_s=10.0)
    first, second = wants(queue), wants(queue)
    assert second.deadline == 10.0
    queue.expire(second, 10.0)
    assert second.refusal.why == "timeout"
    assert second.refusal.retry_after_s >= 1.0
    assert queue.expire(first, 10.0) == []  # it is at work
    assert first.refusal is None


def test_a_timeout_of_0_is_none():
    queue = queue_of(timeout_s=0.0)
    wants(queue)
    assert wants(queue).deadline == math.inf


# --- estimates ------------------------------------------------------------------------------------


def test_positions_and_estimates_follow_the_order():
    queue = queue_of(2)
    teach(queue, took_s=4.0)
    for _ in range(5):
        wants(queue, "ann", now=10.0)
    bob = wants(queue, "bob", now=10.0)
    places = queue.places(11.0)
    assert places[bob].position == 1
    assert places[bob].estimate_s == pytest.approx(3.0)
    assert [p.estimate_s for p in places.values()] == pytest.approx([3.0, 3.0, 7.0, 7.0])


def test_a_size_gives_a_time():
    queue = queue_of()
    teach(queue, tokens=100.0, took_s=2.0)
    wants(queue, tokens=500.0, now=10.0)
    waiter = wants(queue, now=10.0)
    assert queue.places(10.0)[waiter].estimate_s == pytest.approx(10.0)


def test_how_long_an_answer_will_be_is_learned_from_those_before():
    queue = queue_of(max_queue=9)
    early = wants(queue, now=0.0, tokens=0.0)
    asked = Waiter("ann", "m", 0.0, answer=math.inf)
    queue.offer(asked, 0.0)
    early.answered = 50.0
    queue.leave(early, 2.0, served=True)
    small = Waiter("ann", "m", 0.0, answer=10.0)
    queue.offer(small, 2.0)
    last = wants(queue, now=2.0)
    places = queue.places(2.0)
    assert places[small].estimate_s == pytest.approx(2.0)  # as many as the one before
    assert places[last].estimate_s == pytest.approx(2.4)  # it said so


def test_a_model_that_is_not_in_memory_costs_a_load():
    queue = swapping()
    teach(queue, model="a", took_s=2.0)
    queue.leave(wants(queue, "t", "a", 3.0), 5.0, served=True)
    queue.leave(wants(queue, "t", "b", 10.0), 20.0, served=True)
    wants(queue, "ann", "b", 30.0)
    other, third = wants(queue, "bob", "a", 30.0), wants(queue, "bob", "a", 30.0)
    places = queue.places(30.0)
    assert places[other].estimate_s == pytest.approx(2.0)
    assert places[third].estimate_s == pytest.approx(12.0)


def test_a_snapshot_tells_who_is_there():
    queue = queue_of()
    wants(queue, "ann")
    wants(queue, "bob")
    wants(queue, "bob")
    seen = queue.snapshot()
    assert (seen.running, seen.waiting, seen.models) == (1, 2, {"m": 1})
    assert seen.clients == {"ann": (1, 0), "bob": (0, 2)}


# --- properties -----------------------------------------------------------------------------------

SLOTS = st.builds(
    Slots,
    at_once=st.integers(0, 3),
    per_model=st.sampled_from([(), (("a", 1),), (("*", 2),)]),
    max_queue=st.integers(0, 6),
    timeout_s=st.sampled_from([0.0, 5.0, 60.0]),
    max_loaded=st.integers(0, 2),
    swap_wait_s=st.sampled_from([0.0, 3.0]),
    residency_s=st.sampled_from([0.0, 4.0]),
    batch_wait_s=st.sampled_from([0.0, 8.0]),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.sampled_from("xyz"), st.sampled_from("abc"), st.booleans()),
        st.tuples(st.just("leave"), st.integers(0, 20), st.booleans()),
        st.tuples(st.just("pass"), st.floats(0.0, 10.0)),
    ),
    max_size=60,
)


class Watch:
    """A queue driven at random, with what must hold after every step."""

    def __init__(self, slots):
        self.slots, self.queue, self.now = slots, FairQueue(slots), 0.0
        self.here = []

    def step(self, step):
        before = {w: w.state for w in self.here}
        if step[0] == "offer":
            waiter = Waiter(step[1], step[2], 100.0, step[3])
            self.here.append(waiter)
            before[waiter] = "new"
            changed = self.queue.offer(waiter, self.now)
        elif step[0] == "leave":
            if not self.here:
                return
            waiter = self.here.pop(step[1] % len(self.here))
            changed = self.queue.leave(waiter, self.now, served=step[2])
        else:
            self.now += step[1]
            changed = self.queue.poll(self.now)
            for each in self.here:
                if each.state == "waiting" and each.deadline <= self.now:
                    changed += self.queue.expire(each, self.now)
        told = {w for w in self.here if w.state != before[w]} - {
            w for w in self.here if w.state == "waiting"
        }
        assert told <= set(changed), "somebody's place was granted or lost, and nobody told"
        self.here = [w for w in self.here if w.state != "gone"]
        self.holds()

    def holds(self):
        running = [w for w in self.here if w.state == "running"]
        waiting = [w for w in self.here if w.state == "waiting"]
        assert (self.queue.running, self.queue.waiting) == (len(running), len(waiting))
        assert len(waiting) <= self.slots.max_queue
        if self.slots.at_once:
            assert len(running) <= self.slots.at_once
        for glob, most in self.slots.per_model:
            at = Counter(w.model for w in running)
            assert all(n <= most for model, n in at.items() if glob in ("*", model))
        if self.slots.max_loaded:
            assert len({w.model for w in running}) <= self.slots.max_loaded
        self.in_order(waiting)
        if waiting and not running:  # nobody would ever wake them
            assert self.queue.wake_at < math.inf, "all wait, and nobody is at work"
        places = self.queue.places(self.now)
        assert [p.position for p in places.values()] == list(range(1, len(waiting) + 1))

    def in_order(self, waiting):
        """Of one client, one model and one class, whoever came first is at work first."""
        for each in waiting:
            later = [w for w in self.here if w.state == "running" and w.order > each.order]
            same = (each.client, each.model, each.batch)
            assert same not in [(w.client, w.model, w.batch) for w in later]


@given(SLOTS, STEPS)
def test_whatever_happens_the_limits_hold_and_no_place_is_lost(slots, steps):
    watch = Watch(slots)
    for step in steps:
        watch.step(step)
    for _ in range(200):  # everybody leaves in turn; whoever is let in meanwhile, too
        if not watch.here:
            break
        running = [w for w in watch.here if w.state == "running"]
        if running:
            watch.here.remove(running[0])
            watch.queue.leave(running[0], watch.now)
        else:
            watch.now = max(watch.now, watch.queue.wake_at)
            assert watch.queue.poll(watch.now)
    assert watch.queue.idle
    assert watch.queue.snapshot().clients == {}


def run(slots, plan, load_s=0.0):
    """Arrivals (at, client, model, batch, takes_s) through a server that takes that long. Returns
    (waiter, takes_s, waited_s) of each."""
    queue = FairQueue(slots)
    todo = [(at, n, "come", each) for n, (at, *each) in enumerate(plan)]
    heapq.heapify(todo)
    takes, out, count = {}, [], len(todo)
    loaded = set()

    def begins(changed, now):
        nonlocal count
        for waiter in changed:
            if waiter.state == "running" and waiter in takes:
                cold = load_s if waiter.model not in loaded else 0.0
                loaded.clear()
                loaded.add(waiter.model)
                count += 1
                heapq.heappush(todo, (now + cold + takes[waiter], count, "end", waiter))
                out.append((waiter, takes[waiter], now - waiter.arrived))

    now = 0.0
    while todo or queue.waiting:
        if not todo or queue.wake_at < todo[0][0]:
            now = queue.wake_at
            begins(queue.poll(now), now)
            continue
        now, _, what, who = heapq.heappop(todo)
        if what == "come":
            client, model, batch, takes_s = who
            waiter = Waiter(client, model, takes_s, batch)
            takes[waiter] = takes_s
            begins(queue.offer(waiter, now), now)
        else:
            begins(queue.leave(who, now, served=True), now)
    return out


@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 60.0),
            st.sampled_from("xyz"),
            st.sampled_from("ab"),
            st.booleans(),
            st.floats(0.5, 5.0),
        ),
        max_size=40,
    )
)
def test_nobody_starves_beyond_the_bound(plan):
    """The bound that docs/queues.md gives, with the longest request L and the load time: ageing, and
    for each of one's own requests ahead, and for oneself: two of the longest of every other client, and
    once the extra wait for models."""
    slots = Slots(
        at_once=1,
        max_queue=1000,
        timeout_s=0.0,
        max_loaded=1,
        swap_wait_s=6.0,
        residency_s=4.0,
        batch_wait_s=20.0,
    )
    load_s, longest = 2.0, 5.0
    for waiter, _, waited in run(slots, plan, load_s):
        ahead = sum(1 for _, client, *_ in plan if client == waiter.client)
        turn = 2 * 2 * (longest + load_s) + longest + load_s
        extra = max(6.0, 4.0) + 2 * (longest + load_s)
        assert waited <= 20.0 + ahead * (turn + extra)


def test_under_saturation_shares_are_equal_whatever_the_sizes():
    """Requests of 1, 4 and 10 seconds, and each client has always two more of them waiting."""
    queue, chance = queue_of(max_queue=9, timeout_s=0.0), Random(7)
    mean = {"ann": 1.0, "bob": 4.0, "cyd": 10.0}
    had, now = Counter(), 0.0
    for _ in range(2):
        for client in mean:
            wants(queue, client, now=now)
    while now < 2000.0:
        [at_work] = list(queue._running)
        wants(queue, at_work.client, now=now)
        took_s = mean[at_work.client] * chance.uniform(0.5, 1.5)
        had[at_work.client] += took_s
        now += took_s
        queue.leave(at_work, now, served=True)
    assert max(had.values()) / min(had.values()) < 1.04, had


def test_who_is_at_work_already_counts_even_beyond_the_limit():
    queue = queue_of(at_once=1)
    held = [Waiter("ann", "m", 100.0), Waiter("ann", "m", 100.0)]
    for each in held:
        queue.adopt(each, 10.0, held_s=4.0)
    late = wants(queue, "bob", now=10.0)
    assert (queue.running, late.state) == (2, "waiting")
    queue.leave(held[0], 11.0, served=True)
    assert late.state == "waiting"
    queue.leave(held[1], 12.0, served=True)
    assert (late.state, late.started) == ("running", 12.0)
    queue.leave(late, 13.0)
    assert queue.idle
    assert queue._pace.of(held[0]) > 1.0  # they were at work before it was told of them
