"""The embedded benchmark: procedural clips and images of people, with action, privacy and identity labels known by construction."""
