# SPDX-License-Identifier: MIT
"""What gdb shows of a channel, a worker, a pool, a parent and a task; the library has to be compiled
with debugging information (-g).

    source .../strait-gdb.py   not for an installed shared library, where gdb does it by itself
    print *pool           one of them; as in "info locals" and "backtrace full"
    strait-dump pool      the same as lines

It reads memory and calls nothing: it works on a core file, and on a program that is stuck.
examples/DEBUGGING.md says what to do with it.
"""
import gdb
import gdb.printing

CLOSED, WAITING = 1, 2  # of an event count's word
SENDERS_CLOSED = 1 << 31  # of open_senders
INDEX = 1 << 32  # the rings' indices come round there

WORKER_STATES = ["absent", "at work", "leaving", "gone"]
TASK_STATES = ["", "failed", "cancelled", "expired", "abandoned"]


def text_of(pointer, none="no name"):
    return pointer.string(errors="replace") if int(pointer) else none


def function_at(address):
    """The name of the function there, or its address."""
    symbol = gdb.execute(f"info symbol {int(address)}", to_string=True)
    return symbol.split()[0] if " in section " in symbol else hex(int(address))


def typed(name):
    return gdb.lookup_type(name).pointer()


def plural(count, noun):
    return f"{count} {noun}{'' if count == 1 else 's'}"


# ---- channels ----

def queued_spsc(ring):
    ring = ring.cast(typed("struct strait_spsc"))
    return (int(ring["sender"]["index"]) - int(ring["head"])) % INDEX


def queued_lanes(ring):
    lanes = ring.cast(typed("struct strait_lanes"))
    first = (lanes + 1).cast(typed("char"))
    return sum(queued_spsc(first + lane * int(lanes["lane_size"]))
               for lane in range(int(lanes["senders"])))


def queued_cells(ring):
    ring = ring.cast(typed("struct strait_cells"))
    return int(ring["tail"]) - int(ring["head"])


QUEUED = {"spsc": queued_spsc, "lanes": queued_lanes, "cells": queued_cells, "line": queued_spsc}


def variant_of(channel):
    table = gdb.lookup_static_symbol("variants")
    place = int(channel["variant"])
    if table is None:
        return f"variant {place}"
    return text_of(table.value()[place]["name"])


def channel_text(channel):
    variant = variant_of(channel)
    ring = channel.address + 1
    queued = f"{QUEUED[variant](ring)} of " if variant in QUEUED else ""
    parts = [f"{variant}, {queued}{plural(int(channel['capacity']), 'message')}"
             f" of {int(channel['message_size'])} bytes"]
    senders = int(channel["open_senders"])
    parts.append("sending side closed" if senders & SENDERS_CLOSED
                 else f"{plural(senders, 'sender')} open")
    for side, noun in ("sender", "a sender"), ("receiver", "receiver"):
        word = int(channel[side]["word"])
        if word & WAITING and not word & CLOSED:
            parts.append(f"{noun} waits")
    if int(channel["receiver"]["word"]) & CLOSED:
        parts.append("receiver closed")
    return ", ".join(parts)


def handle_channel(handle):
    return handle["handle"]["channel"].dereference()


# ---- workers ----

def thread_text(thread):
    cpu = int(thread["cpu"])
    return f"thread {int(thread['number'])}, {f'CPU {cpu}' if cpu >= 0 else 'any CPU'}"


def worker_text(worker):
    name = worker["thread"]["name"].string(errors="replace")
    state = "ended" if int(worker["ended"]) else "online"
    stop = ", asked to stop" if int(worker["stop"]) else ""
    return f"\"{name}\", {thread_text(worker['thread'])}, {state}{stop}"


def worker_parts(worker):
    yield "to_worker", channel_text(handle_channel(worker["parent"]["sender"]))
    yield "to_parent", channel_text(worker["to_parent"].dereference())


# ---- pools ----

def pool_worker_text(worker):
    parts = [WORKER_STATES[int(worker["state"])]]
    if parts == ["at work"]:
        parts.append(thread_text(worker["thread"]))
    parts.append(plural(int(worker["tasks"]), "task"))
    run = int(worker["run"])
    if run:
        name = text_of(worker["name"].cast(typed("char")), "")
        parts.append(f"runs {function_at(run)}" + (f" \"{name}\"" if name else ""))
    elif parts[0] == "at work":
        parts.append("waits" if int(worker["event"]["word"]) & WAITING else "between tasks")
    return ", ".join(parts)


def parent_text(parent):
    queued = 0
    first, last = parent["rings"].type.range()
    for priority in range(first, last + 1):
        ring = parent["rings"][priority]
        queued += int(ring["tail"]) - int(ring["head"]) - int(ring["dead"])
    who = "a worker's" if int(parent["worker"]) else "attached" if parent["attached"] else "left"
    waits = ", waits" if int(parent["event"]["word"]) & WAITING else ""
    return f"{who}, {plural(int(parent['owed']), 'completion')} owed, {queued} queued{waits}"


def pool_text(pool):
    closing = int(pool["closing"])
    state = "closed" if pool["closed"] else "closing" if closing else "open"
    return (f"\"{pool['name'].string(errors='replace')}\", {state}, "
            f"{plural(int(pool['online']), 'worker')}, {plural(int(pool['attached']), 'parent')}")


def pool_parts(pool):
    for number in range(int(pool["numbers"])):
        yield f"worker {number}", pool_worker_text(pool["workers"][number])
    for place in range(int(pool["places"])):
        parent = pool["parents"][place]
        if int(parent) and (parent["attached"] or int(parent["owed"])):
            yield f"parent {place}", parent_text(parent.dereference())


# ---- tasks ----

def task_text(task):
    name = text_of(task["name"], "")
    done = int(task["done"])
    status = int(task["status"])
    text = f"runs {function_at(task['run']) if int(task['run']) else 'nothing'}"
    text += f" \"{name}\"" if name else ""
    text += f", then {function_at(done)}" if done else ""
    if 0 < status < len(TASK_STATES):  # 0: done, or not completed yet
        text += f", {TASK_STATES[status]} with code {int(task['code'])}"
    return text


# ---- what gdb has of it ----

def no_parts(_):
    return ()


KINDS = {
    "strait_channel": ("channel", channel_text, no_parts),
    "strait_worker": ("worker", worker_text, worker_parts),
    "strait_pool": ("pool", pool_text, pool_parts),
    "strait_parent": ("parent", parent_text, no_parts),
    "strait_p_pool_worker": ("worker of a pool", pool_worker_text, no_parts),
    "strait_task": ("task", task_text, no_parts),
}


def shown(kind, value):
    """It as one line, and its parts, each with a name."""
    noun, text, parts = KINDS[kind]
    if not value.type.strip_typedefs().fields():
        return f"{noun}: not known, as the library's debugging information (-g) is not there", []
    return f"{noun}: {text(value)}", list(parts(value))


def printer_of(name):
    class Printer:
        def __init__(self, value):
            self.line, self.parts = shown(name, value)

        def to_string(self):
            return self.line

        def children(self):
            return iter(self.parts)

    return Printer


def printers():
    collection = gdb.printing.RegexpCollectionPrettyPrinter("strait")
    for name in KINDS:
        collection.add_printer(name, f"^{name}$", printer_of(name))
    return collection


class Dump(gdb.Command):
    """strait-dump POINTER: a pool, worker, channel, parent or task of strait's, line by line."""

    def __init__(self):
        super().__init__("strait-dump", gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def invoke(self, argument, from_tty):
        value = gdb.parse_and_eval(argument)
        if value.type.strip_typedefs().code == gdb.TYPE_CODE_PTR:
            value = value.dereference()
        kind = value.type.strip_typedefs().name or ""
        kind = kind.removeprefix("struct ")
        if kind not in KINDS:
            raise gdb.GdbError(f"strait-dump: {argument} is no pool, worker, channel or task")
        line, parts = shown(kind, value)
        print(line)
        for key, part in parts:
            print(f"  {key}: {part}")


gdb.printing.register_pretty_printer(gdb.current_objfile(), printers(), replace=True)
Dump()
