"""SLURM's commands as far as they matter here, over a JSON file: what a real cluster would add nothing to.

Called as `fake.py STATE COMMAND ARGUMENTS...`. The file says what must go wrong: `fail` and `hang` list numbers of
calls of sbatch (from 1), `silent` makes the controller unreachable, `submit_limit` is MaxSubmitJobs.
"""

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

CONFIG = """Configuration data as of 2026-01-01T00:00:00
AccountingStorageType   = accounting_storage/none
JobRequeue              = 1
MaxArraySize            = 1001
SlurmctldParameters     = (null)
"""
PARTITIONS = """PartitionName=gpu AllowGroups=ALL Default=YES GraceTime=30 MaxTime=1-00:00:00 PreemptMode=REQUEUE
PartitionName=cpu AllowGroups=ALL Default=NO GraceTime=0 MaxTime=UNLIMITED PreemptMode=OFF State=UP
PartitionName=mixed AllowGroups=ALL Default=NO GraceTime=0 MaxTime=2-00:00:00 PreemptMode=OFF State=UP
"""
NODES = """gpu|gpu:a100:4(S:0-1)|64|256000
gpu|gpu:a100:2(S:0)|32|128000+
cpu|(null)|40|160000
mixed|(null)|40|500000
mixed|(null)|40|500000
mixed|(null)|40|500000
mixed|gpu:v100:2|16|64000
mixed|gpu:a100:4|64|256000
mixed|gpu:v100:2|16|64000
"""


def main(state_file: Path, command: str, arguments: list[str]) -> int:
    state: dict[str, Any] = json.loads(state_file.read_text())
    if state.get("silent") and command != "sinfo":
        print("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", file=sys.stderr)
        return 1
    code = {"sbatch": sbatch, "squeue": squeue, "scancel": scancel, "scontrol": scontrol, "sinfo": sinfo}[command](
        state, arguments, state_file
    )
    return code


def save(state: dict[str, Any], file: Path) -> None:
    whole = file.with_suffix(".new")  # so that a test never reads half of it
    whole.write_text(json.dumps(state))
    whole.replace(file)


def sbatch(state: dict[str, Any], arguments: list[str], file: Path) -> int:
    if "--test-only" in arguments:
        return 0
    state["calls"] = state.get("calls", 0) + 1
    state["environment"] = {name: value for name, value in os.environ.items() if name.startswith("SLURM_")}
    save(state, file)
    script = Path(arguments[-1]).read_text()
    name = re.search(r"--job-name=(\S+)", script)
    array = re.search(r"--array=0-(\d+)", script)
    after = re.search(r"--dependency=(\S+)", script)
    count = int(array.group(1)) + 1 if array else 1
    if state["calls"] in state.get("fail", []):
        print(
            "sbatch: error: Batch job submission failed: Invalid account or account/partition combination",
            file=sys.stderr,
        )
        return 1
    if count > 1000:
        print("sbatch: error: Batch job submission failed: Invalid job array specification", file=sys.stderr)
        return 1
    waiting = sum(one["state"] in ("PENDING", "RUNNING") for one in state["jobs"].values())
    if waiting + count > state.get("submit_limit", 10**9):
        print("sbatch: error: AssocMaxSubmitJobLimit: Job violates accounting/QOS policy", file=sys.stderr)
        return 1
    job = state["next"] = state.get("next", 100) + 1
    for number in range(count):
        key = f"{job}_{number}" if array else str(job)
        state["jobs"][key] = {"name": name.group(1) if name else "", "state": "PENDING", "reason": "Priority"}
        state["jobs"][key] |= {"dependency": after.group(1) if after else "", "script": script}
    save(state, file)
    if state["calls"] in state.get("hang", []):
        time.sleep(60)
    print(f"Submitted batch job {job}")
    return 0


def squeue(state: dict[str, Any], arguments: list[str], file: Path) -> int:
    state["squeues"] = state.get("squeues", 0) + 1
    save(state, file)
    wanted = {name: given.split(",") for name, equals, given in (one.partition("=") for one in arguments) if equals}
    if "-j" in arguments:
        wanted["--jobs"] = arguments[arguments.index("-j") + 1].split(",")
    ids, names = wanted.get("--jobs", []), wanted.get("--name", [])
    known = {key.partition("_")[0] for key in state["jobs"]} | set(state["jobs"])
    if len(ids) == 1 and ids[0] not in known:
        print("slurm_load_jobs error: Invalid job id specified", file=sys.stderr)
        return 1
    format = arguments[arguments.index("-o") + 1]
    for key, one in state["jobs"].items():
        if key in ids or key.partition("_")[0] in ids or one["name"] in names:
            shown = {"%i": key, "%T": one["state"], "%r": one.get("reason", "None"), "%L": "10:00"}
            shown |= {"%N": one.get("node", ""), "%j": one["name"]}
            print(re.sub("%[a-zA-Z]", lambda sign: shown[sign.group()], format))  # noqa: B023
    return 0


def scancel(state: dict[str, Any], arguments: list[str], file: Path) -> int:
    for key, one in state["jobs"].items():
        if key in arguments or key.partition("_")[0] in arguments or f"--name={one['name']}" in arguments:
            one["state"] = "CANCELLED"
    state.setdefault("scancelled", []).append(arguments)
    save(state, file)
    return 0


def scontrol(state: dict[str, Any], arguments: list[str], file: Path) -> int:
    if arguments[:2] == ["show", "config"]:
        print(CONFIG)
    elif arguments[:2] == ["show", "partition"]:
        print(PARTITIONS)
    elif arguments[:2] == ["show", "job"]:
        one = state["jobs"].get(arguments[-1])
        if one is None:
            print("slurm_load_jobs error: Invalid job id specified", file=sys.stderr)
            return 1
        print(
            f"JobId={arguments[-1]} JobState={one['state']} PreemptTime={one.get('preempted', 'None')} Restarts=0",
            end="",
        )
        print(f" EndTime={one.get('end', 'Unknown')}")
    elif arguments[0] == "requeue":
        state.setdefault("requeued", []).append(arguments[1])
        save(state, file)
    return 0


def sinfo(state: dict[str, Any], arguments: list[str], file: Path) -> int:
    print(NODES)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
