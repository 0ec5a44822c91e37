"""What a model hears: patches of the store, loaded in batches, and the log-mel spectrogram of them."""
