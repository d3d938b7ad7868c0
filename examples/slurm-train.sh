#!/bin/bash
# Train a student on several machines; a job that runs out of time goes on when it is submitted again:
#   sbatch examples/slurm-train.sh DATA OUT [options of mlffd train]
#SBATCH --job-name=mlffd-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@120

set -euo pipefail
data=$1 out=$2
shift 2

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
processes=${SLURM_GPUS_ON_NODE:-$SLURM_CPUS_PER_TASK}
export OMP_NUM_THREADS=$((SLURM_CPUS_PER_TASK / processes))

exec srun torchrun --no-python \
    --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "$processes" \
    --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$first:29500" \
    mlffd train "$data" --out "$out" "$@"
