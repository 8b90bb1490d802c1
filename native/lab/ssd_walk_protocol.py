"""The barriers of the chunk scan's walk (native/cuda/ssd_walk*.cuh) as a model that runs under random schedules.

    python3 native/lab/ssd_walk_protocol.py [SCHEDULES]

An mbarrier is waited for by the parity of a phase, so it tells a phase from the next one but not from the one after. The
model has the walk's agents (copies, three dt warps, the state warpgroup, two output warpgroups) with their waits and arrivals,
and looks for a stage that is written while somebody reads it, for a reader that finds another step's data, and for
agents that wait forever. "empty alone" is how the dt warps waited before they also waited for `ready` of the stage's
previous use: it fails in half of the schedules.
"""

import random
import sys
from collections import Counter

STAGES, PREPARERS = 4, 3
END = -1


class Barrier:
    def __init__(self, arrivals):
        self.arrivals = self.left = arrivals
        self.phase = 0  # complete phases

    def arrive(self):
        self.left -= 1
        if self.left == 0:
            self.left = self.arrivals
            self.phase += 1

    def passed(self, parity):
        return self.phase % 2 != parity


class Fault(Exception):
    pass


class Walk:
    """`warps` of a warpgroup move on their own; `claim`: dt warps wait for `ready` of the stage's previous use too."""

    def __init__(self, steps, claim, warps, rng):
        self.steps, self.claim, self.warps, self.rng = steps, claim, warps, rng
        self.loaded = [Barrier(1) for _ in range(STAGES)]
        self.ready = [Barrier(1) for _ in range(STAGES)]
        self.empty = [Barrier(2 * warps) for _ in range(STAGES)]
        self.rounded = [Barrier(warps) for _ in range(2)]
        self.used = [Barrier(warps) for _ in range(2)]
        self.step, self.tile = [None] * STAGES, [None] * STAGES
        self.reading = {}  # agent -> (stage, step)
        self.agents = {"copies": self.copies()}
        for turn in range(PREPARERS):
            self.agents[f"dt {turn}"] = self.prepare(turn)
        for warp in range(warps):
            self.agents[f"state {warp}"] = self.state(warp)
            for turn in range(2):
                self.agents[f"output {turn} {warp}"] = self.output(turn, warp)

    @staticmethod
    def ring(i):
        return i % STAGES, i // STAGES % 2

    @staticmethod
    def wait(barrier, parity):
        while not barrier.passed(parity):
            yield

    def write(self, array, i, value):
        stage = i % STAGES
        for agent, (of, step) in self.reading.items():
            if of == stage and step != i:  # who has a step's dt part may wait for its tiles
                raise Fault(f"step {i} is written over step {step}, which {agent} reads")
        array[stage] = value

    def read(self, array, i):
        if array[i % STAGES] != i:
            raise Fault(f"step {i} is read as {array[i % STAGES]}")

    def copies(self):
        for i in range(self.steps):
            stage, phase = self.ring(i)
            yield from self.wait(self.empty[stage], phase ^ 1)
            self.write(self.tile, i, i)
            yield
            self.loaded[stage].arrive()
            yield

    def put_step(self, i, value):
        stage, phase = self.ring(i)
        if self.claim:
            yield from self.wait(self.ready[stage], phase ^ 1)
        yield from self.wait(self.empty[stage], phase ^ 1)
        self.write(self.step, i, value)
        yield
        if value != END and self.rng.random() < 0.3:  # a short step: its tiles are zeroed past the last token
            yield from self.wait(self.loaded[stage], phase)
            self.read(self.tile, i)
        self.ready[stage].arrive()
        yield

    def prepare(self, turn):
        i = turn
        while i < self.steps:
            yield from self.put_step(i, i)
            i += PREPARERS
        if i == self.steps:
            for end in (i, i + 1):
                yield from self.put_step(end, END)

    def consume(self, agent, i):
        stage, phase = self.ring(i)
        yield from self.wait(self.ready[stage], phase)
        if self.step[stage] == END:
            return False
        self.reading[agent] = (stage, i)
        self.read(self.step, i)
        yield from self.wait(self.loaded[stage], phase)
        self.read(self.tile, i)
        yield
        return True

    def release(self, agent, i):
        self.read(self.step, i)
        del self.reading[agent]
        self.empty[i % STAGES].arrive()
        yield

    def state(self, warp):
        agent, i = f"state {warp}", 0
        more = yield from self.consume(agent, i)
        while more:
            turn, phase = i % 2, i // 2 % 2
            yield from self.wait(self.used[turn], phase ^ 1)
            yield from self.wait(self.ready[(i + 1) % STAGES], self.ring(i + 1)[1])
            self.rounded[turn].arrive()
            yield
            yield from self.release(agent, i)
            i += 1
            more = yield from self.consume(agent, i)

    def output(self, turn, warp):
        agent, i = f"output {turn} {warp}", turn
        while (yield from self.consume(agent, i)):
            yield from self.wait(self.rounded[turn], i // 2 % 2)
            self.used[turn].arrive()
            for _ in range(self.rng.randrange(3)):
                yield
            yield from self.release(agent, i)
            i += 2

    def run(self):
        """None, or what went wrong. Some agents are fast and some slow, and this changes."""
        budget = 20_000 + 2_000 * self.steps
        speeds = {}
        while self.agents:
            if not speeds or self.rng.random() < 0.002:
                speeds = {agent: self.rng.choice([0.02, 1, 1, 5]) for agent in self.agents}
            names = list(self.agents)
            agent = self.rng.choices(names, [speeds[name] for name in names])[0]
            budget -= 1
            if budget == 0:
                return f"{', '.join(names)} wait forever"
            try:
                next(self.agents[agent])
            except StopIteration:
                del self.agents[agent]
            except Fault as fault:
                return str(fault)
        return None


def main():
    schedules = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    failed_now = 0
    for claim in (False, True):
        for warps in (1, 2, 4):
            faults = Counter()
            for seed in range(schedules):
                rng = random.Random(seed)
                faults[Walk(rng.randrange(40), claim, warps, rng).run()] += 1
            failed = schedules - faults[None]
            name = "empty and ready" if claim else "empty alone"
            first = next((fault for fault in faults if fault), "")
            print(f"{name:16} {warps} warps a group: {failed} of {schedules} schedules fail  {first}")
            failed_now += failed if claim else 0
    sys.exit(failed_now > 0)


main()
