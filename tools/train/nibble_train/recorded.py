"""Work that a GPU repeats by itself: of a small model the host takes longer to start kernels than the GPU to run them."""

import torch


class Recorded:
    """A CUDA graph of `work`, which reads and writes fixed buffers, and is run `rounds` times before it is recorded.

    The first round compiles; what `work` allocates when it is recorded keeps its place, its result too. `generator`:
    what it draws random numbers from. `pool`: memory shared with other recorded work that never runs meanwhile.
    """

    def __init__(self, work, rounds: int, generator: "torch.Generator | None" = None, pool=None):
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(rounds):
                work()
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        if generator is not None:
            self.graph.register_generator_state(generator)
        with torch.cuda.graph(self.graph, pool=pool):
            self.result = work()

    def __call__(self):
        self.graph.replay()
        return self.result
