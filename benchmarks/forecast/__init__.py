"""What a study will take, before anything of it is trained: parameters, MACs, time on CPUs and GPUs, bytes.

Imports plan and records. Start at `cost`.
"""
