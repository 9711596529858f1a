"""The only door to transformers: loading, the causal adapter, its cache, exact mode, enlargement."""
