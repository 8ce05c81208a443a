"""Tables of pairs scored, benchmarks measured, heat maps and attributions put to the test."""
