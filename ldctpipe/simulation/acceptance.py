"""The acceptance tests V1–V18 that a medical physicist would ask of a dose simulation, in their order."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from ldctpipe.simulation import acceptance_level as level
from ldctpipe.simulation import acceptance_program as program
from ldctpipe.simulation import acceptance_scanner as scanner
from ldctpipe.simulation import acceptance_texture as texture
from ldctpipe.simulation.acceptance_bench import Bench, Check

CHECKS: MappingProxyType[str, Callable[[Bench], Check]] = MappingProxyType(
    {
        "V1": level.closed_form,
        "V2": level.growth_of_quantum_noise,
        "V3": level.growth_with_electronic_noise,
        "V4": level.insertion_equals_scan,
        "V5": level.attenuation_from_noisy_image,
        "V6": texture.spectrum_of_kernel,
        "V7": texture.direction_of_streaks,
        "V8": level.no_bias,
        "V9": texture.starvation,
        "V10": program.determinism,
        "V11": texture.seeds_and_map,
        "V12": texture.correlation_along_z,
        "V13": level.doses_compose,
        "V14": program.what_stays,
        "V15": program.other_implementation,
        "V16": scanner.mean_frequency,
        "V17": scanner.mean_by_tissue,
        "V18": scanner.noise_by_slice,
    }
)
