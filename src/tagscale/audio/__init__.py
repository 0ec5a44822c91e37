"""The input of models: patches of the store, loaded in batches, and their log-mel spectrograms."""
