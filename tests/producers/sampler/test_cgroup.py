"""Control groups of constructed machines: limits at any level, both versions, and none at all."""

from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtide._sampler._cgroup import Cgroup

Tree = Callable[[dict[str, str]], Path]
V2 = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "33 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:1 - cgroup cgroup rw,cpu,cpuacct\n"
    "34 31 0:30 / /sys/fs/cgroup/memory rw shared:2 - cgroup cgroup rw,memory\n"
)
CPU_STAT = "usage_usec 5000000\nuser_usec 1\nsystem_usec 1\nnr_periods 9\nnr_throttled 4\nthrottled_usec 700\n"


def v2(**levels: dict[str, str]) -> dict[str, str]:
    """Files of a machine with version 2, whose process is in /pod/job; `levels` by pod, job and top."""
    folders = {"top": "sys/fs/cgroup", "pod": "sys/fs/cgroup/pod", "job": "sys/fs/cgroup/pod/job"}
    files = {"proc/self/mountinfo": V2, "proc/77/cgroup": "0::/pod/job\n"}
    return files | {f"{folders[level]}/{name}": text for level, told in levels.items() for name, text in told.items()}


def test_the_tightest_limit_counts_and_usage_is_read_where_it_stands(tree: Tree) -> None:
    """The pod has fewer processors than the job, and the job less memory than the pod."""
    root = tree(
        v2(
            pod={
                "cpu.max": "150000 100000\n",
                "cpu.stat": CPU_STAT,
                "memory.max": "9000\n",
                "memory.current": "8000\n",
            },
            job={
                "cpu.max": "max 100000\n",
                "cpu.stat": "usage_usec 1\n",
                "memory.max": "5000\n",
                "memory.current": "4000\n",
                "memory.stat": "anon 3000\nfile 900\n",
                "memory.events": "low 0\noom 2\noom_kill 1\n",
            },
        )
    )
    assert Cgroup(77, root).read() == {
        "cgroup_cpu_limit": 1.5,
        "cgroup_cpu_us": 5_000_000,
        "cgroup_throttled_us": 700,
        "cgroup_throttled_periods": 4,
        "cgroup_mem_limit_bytes": 5000,
        "cgroup_mem_bytes": 4000,
        "cgroup_mem_anon_bytes": 3000,
        "cgroup_oom_kills": 1,
    }


def test_without_a_limit_the_processs_own_group_is_told(tree: Tree) -> None:
    """`max` everywhere: usage is that of the innermost group, and there is no limit rather than a huge one."""
    root = tree(
        v2(
            pod={"cpu.max": "max 100000", "memory.max": "max", "memory.current": "8"},
            job={"cpu.max": "max 100000", "cpu.stat": CPU_STAT, "memory.max": "max", "memory.current": "4"},
        )
    )
    told = Cgroup(77, root).read()
    assert (told["cgroup_cpu_us"], told["cgroup_mem_bytes"]) == (5_000_000, 4)
    assert not {"cgroup_cpu_limit", "cgroup_mem_limit_bytes"} & set(told)


def test_the_root_of_a_machine_is_no_container(tree: Tree) -> None:
    """Its cpu.stat counts all that runs there, and has no limit beside it."""
    files = v2(top={"cpu.stat": CPU_STAT, "memory.stat": "anon 1\n"}) | {"proc/77/cgroup": "0::/\n"}
    assert Cgroup(77, tree(files)).read() == {}


def test_a_container_that_sees_itself_as_the_root(tree: Tree) -> None:
    """A namespace of control groups: the path is /, and the files of a group are there."""
    files = v2(top={"cpu.max": "50000 100000", "memory.max": "100", "memory.current": "7"})
    told = Cgroup(77, tree(files | {"proc/77/cgroup": "0::/\n"})).read()
    assert (told["cgroup_cpu_limit"], told["cgroup_mem_bytes"]) == (0.5, 7)


def test_a_mount_of_a_part_of_the_hierarchy(tree: Tree) -> None:
    """Docker without a namespace: the paths are the host's, and the container's group is what is mounted."""
    files = v2(top={"memory.max": "100", "memory.current": "7"})
    files |= {
        "proc/self/mountinfo": V2.replace("0:30 / ", "0:30 /docker/abc "),
        "proc/77/cgroup": "0::/docker/abc\n",
    }
    assert Cgroup(77, tree(files)).read()["cgroup_mem_limit_bytes"] == 100


def test_version_1_and_a_hybrid(tree: Tree) -> None:
    """Nanoseconds become microseconds; an empty hierarchy of version 2 beside it has no say."""
    cpu, memory = "sys/fs/cgroup/cpu,cpuacct/job", "sys/fs/cgroup/memory/job"
    files = {
        "proc/self/mountinfo": V1 + V2.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified "),
        "proc/77/cgroup": "4:memory:/job\n3:cpu,cpuacct:/job\n1:name=systemd:/job\n0::/job\n",
        "sys/fs/cgroup/unified/job/cgroup.procs": "77\n",
        f"{cpu}/cpu.cfs_quota_us": "250000\n",
        f"{cpu}/cpu.cfs_period_us": "100000\n",
        f"{cpu}/cpu.stat": "nr_periods 5\nnr_throttled 2\nthrottled_time 9000000\n",
        f"{cpu}/cpuacct.usage": "1234567000\n",
        f"{memory}/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "8000\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "6000\n",
        "sys/fs/cgroup/memory/memory.stat": "rss 1\ntotal_rss 5000\n",
        "sys/fs/cgroup/memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    }
    assert Cgroup(77, tree(files)).read() == {
        "cgroup_cpu_limit": 2.5,
        "cgroup_cpu_us": 1_234_567,
        "cgroup_throttled_us": 9_000,
        "cgroup_throttled_periods": 2,
        "cgroup_mem_limit_bytes": 8000,
        "cgroup_mem_bytes": 6000,
        "cgroup_mem_anon_bytes": 5000,
        "cgroup_oom_kills": 3,
    }


def test_what_is_not_there_is_absent(tree: Tree) -> None:
    """No control groups, no process, and a group outside of what is mounted."""
    assert Cgroup(77, tree({"proc/self/stat": ""})).read() == {}
    assert Cgroup(77, tree({"proc/77/cgroup": "0::/../elsewhere\n", "proc/self/mountinfo": V2})).read() == {}


def test_a_limit_that_is_changed_is_noticed(tree: Tree) -> None:
    """Not at once: it is read again now and then."""
    root = tree(v2(job={"memory.max": "100", "memory.current": "7", "cpu.max": "100000 100000", "cpu.stat": CPU_STAT}))
    group = Cgroup(77, root)
    assert (group.read()["cgroup_mem_limit_bytes"], group.read()["cgroup_cpu_limit"]) == (100, 1)
    for name, limit in (("memory.max", "50"), ("cpu.max", "max 100000")):
        (root / "sys/fs/cgroup/pod/job" / name).write_text(limit)
    told = [group.read() for _ in range(12)][-1]
    assert told["cgroup_mem_limit_bytes"] == 50 and "cgroup_cpu_limit" not in told


def test_a_group_outlives_its_process_and_a_process_may_move(tree: Tree) -> None:
    """What is read when the rank has ended is still its group's; a rank that is moved is followed."""
    root = tree(v2(job={"memory.max": "100", "memory.current": "7"}, pod={"memory.max": "max", "memory.current": "9"}))
    group = Cgroup(77, root)
    assert group.read()["cgroup_mem_bytes"] == 7
    (root / "proc/77/cgroup").unlink()
    assert group.read()["cgroup_mem_bytes"] == 7
    (root / "proc/77/cgroup").write_text("0::/pod\n")
    assert group.read()["cgroup_mem_bytes"] == 9


def test_the_real_machine_has_whole_numbers_or_nothing() -> None:
    """Whatever runs this test."""
    assert all(isinstance(value, int | float) and value >= 0 for value in Cgroup().read().values())


GARBAGE = st.text(st.characters(codec="utf-8"), max_size=60) | st.sampled_from(
    [
        "max",
        "-1",
        "max 100000",
        "100000 0",
        "1 2 3",
        "usage_usec",
        "oom_kill x",
        "9" * 30,
        "-" + "9" * 30,
        "\x00",
        "0::",
    ]
)


@given(
    membership=GARBAGE, mounts=GARBAGE, cpu=GARBAGE, stat=GARBAGE, memory=GARBAGE, current=GARBAGE, real=st.booleans()
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
def test_garbage_never_raises(
    tree: Tree, membership: str, mounts: str, cpu: str, stat: str, memory: str, current: str, real: bool
) -> None:
    """Whatever these files hold, the answer is made of numbers that the wire can carry."""
    files = v2(
        job={"cpu.max": cpu, "cpu.stat": stat, "memory.max": memory, "memory.current": current, "memory.stat": stat}
    )
    if not real:
        files |= {"proc/77/cgroup": membership, "proc/self/mountinfo": mounts}
    for value in Cgroup(77, tree(files)).read().values():
        assert isinstance(value, int | float)
        assert -(2**63) <= value < 2**63
