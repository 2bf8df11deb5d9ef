"""One build of a TensorRT plan: what the builder is told, and what it says where it fails."""

import logging
from contextlib import closing
from pathlib import Path
from typing import Any

from common.durable import write_whole
from common.errors import EngineError, IntegrityError
from common.owned import read_owned
from engines.stamp import Recipe
from engines.trt_layers import Layers, summary
from engines.trt_log import Complaints
from engines.trt_progress import Progress
from engines.trt_protocols import (
    Builder,
    BuilderApi,
    IBuilderConfig,
    IHostMemory,
    INetworkDefinition,
    IOptimizationProfile,
    ITimingCache,
    OnnxParser,
)

log = logging.getLogger(__name__)
WORKSPACE_SHARE = 0.5
"""Of the free memory: on a board, GPU and CPU share it, and the builder needs some beside its workspace."""


class Work:
    """One build: the libraries, the order, and what TensorRT complained of.

    Args:
        trt: TensorRT.
        recipe: what to build.
        free: bytes of memory that are free.
        cache: file with the kernel times of earlier builds.
        complaints: what takes TensorRT's log; default: ours.
    """

    def __init__(
        self, trt: BuilderApi, recipe: Recipe, *, free: int, cache: Path, complaints: Complaints | None = None
    ) -> None:
        self._trt, self._recipe, self._free, self._cache_file = trt, recipe, free, cache
        self._complaints = complaints or Complaints(trt, log)

    def build(self, graph: bytes) -> bytes:
        """The plan of a graph."""
        trt = self._trt
        builder = trt.Builder(self._complaints.logger)
        network = builder.create_network(self._network_flags())
        parser = trt.OnnxParser(network, self._complaints.logger)
        if not parser.parse(graph):
            raise EngineError(f"TensorRT {trt.__version__} can not read the graph: {_parser_errors(parser)}")
        if network.num_inputs != 1:
            raise EngineError(f"the graph has {network.num_inputs} inputs, not one of images; export the bundle again")
        config = self._config(builder, network)
        cache = self._timing_cache(config)
        with closing(Progress(getattr(trt, "IProgressMonitor", None))) as progress:
            progress.watch(config)
            plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise self._complaints.error(
                f"TensorRT {trt.__version__} built nothing ('could not find any implementation' mostly means that "
                f"memory is short: {self._free >> 20} MiB were free; stop other programs, or try a smaller --largest)"
            )
        if cache is not None:
            self._keep(cache.serialize())
        return _bytes(plan)

    def inspect(self, plan: bytes) -> Layers:
        """What became of the layers; loads the plan, which proves that it can be loaded."""
        runtime = self._trt.Runtime(self._complaints.logger)
        runtime.engine_host_code_allowed = False
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise self._complaints.error("TensorRT can not load the plan that it has just built")
        told = engine.create_engine_inspector().get_engine_information(self._trt.LayerInformationFormat.JSON)
        return summary(told)

    def _config(self, builder: Builder, network: INetworkDefinition) -> IBuilderConfig:
        trt = self._trt
        config = builder.create_builder_config()
        self._set_target(config)
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(self._free * WORKSPACE_SHARE))
        for name in self._recipe.flags:
            config.set_flag(getattr(trt.BuilderFlag, name, None))
        shapes = builder.create_optimization_profile()
        self._set_shapes(shapes, network)
        if config.add_optimization_profile(shapes) < 0:
            raise self._complaints.error("TensorRT refused the optimisation profile")
        return config

    def _set_target(self, config: IBuilderConfig) -> None:
        """Name the GPU that it is built for; without, it is this machine's."""

    def _network_flags(self) -> int:
        strong = self._trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return 1 << int(strong) if self._recipe.typing == "strong" else 0

    def _set_shapes(self, shapes: IOptimizationProfile, network: INetworkDefinition) -> None:
        image = network.get_input(0)
        cell = tuple(image.shape)[1:]
        sizes = (1, min(self._recipe.profile.best, self._recipe.profile.largest), self._recipe.profile.largest)
        shapes.set_shape(image.name, *((n, *cell) for n in sizes))

    def _timing_cache(self, config: IBuilderConfig) -> ITimingCache | None:
        """A cache of kernel times from earlier builds; one of another board or version is left aside."""
        for content in (self._kept(), b""):
            cache = config.create_timing_cache(content)
            if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
                return cache
        return None

    def _kept(self) -> bytes:
        try:
            return read_owned(self._cache_file)
        except FileNotFoundError:
            return b""
        except (OSError, IntegrityError) as cause:
            log.warning("building without the times of earlier builds: %s", cause)
            return b""

    def _keep(self, cache: IHostMemory) -> None:
        try:
            write_whole(self._cache_file, _bytes(cache))
        except OSError as cause:
            log.warning(
                "the next build will be no faster: %s can not be written (%s)", self._cache_file, cause.strerror
            )


def _parser_errors(parser: OnnxParser) -> str:
    errors = [parser.get_error(k) for k in range(parser.num_errors)]
    said = (f"{e.node_operator()} {e.node_name()}: {' '.join(e.desc().split())}" for e in errors)
    return "; ".join(said) or "it gave no reason"


def _bytes(memory: IHostMemory) -> bytes:
    made: Any = memory
    return bytes(made)
