"""Settings of the property tests: a loaded machine is no reason to fail."""

from hypothesis import Phase, settings

settings.register_profile(
    "formats",
    deadline=None,
    max_examples=60,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
settings.load_profile("formats")
