"""From audio files to what a model reads: decoding, the int16 store, patches, the log-mel transform."""

SAMPLE_RATE = 16_000  # Hz; section 4: audio down-sampled to 16 kHz
