"""Which false words do the misalignment benchmarks let CLIP find?"""
