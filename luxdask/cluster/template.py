"""The commented description that `luxdask cluster init` writes, for each kind of cluster."""

from __future__ import annotations

from luxdask.cluster.options import BATCH_SYSTEMS, worker_options

HEAD = """\
# A cluster for luxdask: luxdask run task.json --cluster THIS_FILE
# Try it:  luxdask cluster test THIS_FILE --path /where/the/data/is
# Lines with # are examples or defaults; docs/clusters.md tells of all of them.

system = "{system}"
"""

_JOB = """
[workers]                  # what one job asks for; a job holds one or several worker processes
cores = 16
memory = "64 GB"
{walltime}\
#processes = 2             # worker processes that share the job; by default one per 8 cores
#local_directory = "$TMPDIR"        # fast local disk of a node, where there is one
#interface = "ib0"         # network that nodes and this machine share; by default the usual one
#job_script_prologue = ["module load cuda", "source /path/venv/bin/activate"]
#job_extra_directives = [{extra}]   # more lines for the batch system
#job_directives_skip = ["{skip}"]   # lines that this site does not want
#shared_temp_directory = "/scratch/me"  # certificates lie here; all nodes must see it
#log_directory = "logs"    # what jobs say; by default kept only when they fail
# Others: {others}
"""

_SCALE = """
[scale]
jobs = 4                   # a fixed number of jobs; or, instead, as many as the work asks for:
#minimum = 0
#maximum = 20
#failures = 3              # give up when so many jobs in a row end before their worker connects

[lifetime]                 # workers leave before their job is ended, and jobs that follow go on
#enabled = true
#before_end = "5 min"      # by default a tenth of the wall time, 5 minutes at most
#stagger = "5 min"         # not all at once, but spread over so long

#[gpus]                    # one worker process for each GPU, by `dask cuda worker` of dask-cuda
#per_job = 2
#directives = [{gpu}]   # where this site is asked for them in another way
#worker_args = ["--rmm-pool-size", "0.5", "--set-rmm-allocator-for-libs", "cupy"]

#[controller]              # the job that leads a task of `luxdask submit`
#cores = 2
#memory = "8 GB"
#walltime = "24:00:00"
#resubmit = 10             # so often the task goes on in another job when the wall time is near
#stop_before = "5 min"     # so long before the wall time
#compute = "threads"       # chunks are computed in this job; no jobs of workers
"""

_DASK = """
#[dask]                    # settings of dask, here and on all workers
#"distributed.comm.timeouts.connect" = "120s"
"""

_LOCAL = """
[workers]                  # processes on this machine; nothing listens beyond it
#n_workers = 4
#threads_per_worker = 4
#memory_limit = "16 GB"    # of each process
#local_directory = "/scratch/me"
# Others: {others}
"""

_CUDA = """
[workers]                  # one process for each GPU of this machine
#CUDA_VISIBLE_DEVICES = [0, 1]
#memory_limit = "64 GB"    # of the machine, for each process
#rmm_pool_size = 0.5       # of a GPU's memory, where RMM is installed
# Others: {others}
"""

_ADDRESS = """
address = "tls://head.cluster:8786"   # of the scheduler that runs there

[security]                 # certificates (PEM) that it wants; paths as seen from this file
#ca_file = "ca.pem"
#cert = "cert.pem"
#key = "key.pem"

[scale]
#lost_after = "30 min"     # how long to wait when all its workers are gone
"""

_SHOWN = {
    "cores", "memory", "walltime", "processes", "queue", "account", "project", "local_directory",
    "interface", "job_script_prologue", "job_extra_directives", "job_directives_skip",
    "shared_temp_directory", "log_directory", "n_workers", "threads_per_worker", "memory_limit",
    "CUDA_VISIBLE_DEVICES", "rmm_pool_size", "resource_spec", "disk",
}  # fmt: skip

_EXTRA = {
    "slurm": ('"--exclusive"', "--mem", '"--gres=gpu:a100:2"'),
    "pbs": ('"-m n"', "-l walltime", '"-l ngpus=2"'),
    "moab": ('"-m n"', "-l walltime", '"-l gpus=2"'),
    "sge": ('"-pe smp 16"', "-l h_rt", '"-l gpu=2"'),
    "lsf": ('"-x"', "-M", "'-gpu \"num=2\"'"),
    "oar": ('"-t besteffort"', "--project", '"-p gpu_count=2"'),
    "htcondor": ("", "RequestDisk", '"request_gpus=2"'),
}


def template(system: str) -> str:
    """A description with its settings explained; it can be read as it is."""
    head = HEAD.format(system=system)
    others = ", ".join(sorted(worker_options(system) - _SHOWN))
    if system == "local":
        return head + _LOCAL.format(others=others) + _DASK
    if system == "cuda":
        return head + _CUDA.format(others=others) + _DASK
    if system == "address":
        return head + _ADDRESS + _DASK
    extra, skip, gpu = _EXTRA[system]
    job = _JOB.format(walltime=_job_lines(system), extra=extra, skip=skip, others=others)
    if system == "htcondor":  # it takes key = value
        job = job.replace("job_extra_directives = []", 'job_extra_directives = { Priority = "1" }')
    return head + job + _SCALE.format(gpu=gpu) + _DASK


def _job_lines(system: str) -> str:
    """What only some batch systems have."""
    known = worker_options(system)
    walltime = "08:00" if system == "lsf" else "08:00:00"
    lines = {
        "walltime": f'walltime = "{walltime}"',
        "disk": 'disk = "10 GB"',
        "queue": '#queue = "cpu"',
        "account": '#account = "my-project"',
        "project": '#project = "my-project"',
        "resource_spec": f"#resource_spec = {_RESOURCES.get(system, '')}",
    }
    return "".join(f"{line}\n" for key, line in lines.items() if key in known)


_RESOURCES = {
    "pbs": '"select=1:ncpus=16:mem=64gb"',
    "moab": '"nodes=1:ppn=16,mem=64gb"',
    "sge": '"h_vmem=4G"',
    "oar": '"/nodes=1/core=16"',
}

assert set(_EXTRA) == set(BATCH_SYSTEMS)
