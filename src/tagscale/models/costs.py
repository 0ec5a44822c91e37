"""What every entry of the catalogue costs, counted by `cost`: here as data, since counting them takes ten seconds.

A test counts all of them again, and prints the lines that have to change.
"""

from typing import NamedTuple


class Cost(NamedTuple):
    parameters: int  # trainable
    flops: int  # of one patch, forward
    activations: int  # bytes of one patch in training
    weights: int  # bytes


COSTS: dict[str, Cost] = {
    "table-1-waveform-1000000": Cost(5_520_743, 3_561_504_504, 144_406_088, 22_099_892),
    "table-1-spectrogram-1000000": Cost(5_968_743, 9_920_189_912, 79_334_076, 23_987_652),
    "table-1-waveform-500000": Cost(5_520_743, 3_561_504_504, 144_406_088, 22_099_892),
    "table-1-spectrogram-500000": Cost(5_968_743, 9_920_189_912, 79_334_076, 23_987_652),
    "table-1-waveform-100000": Cost(5_520_743, 3_561_504_504, 144_406_088, 22_099_892),
    "table-1-spectrogram-100000": Cost(5_968_743, 9_920_189_912, 79_334_076, 23_987_652),
    "table-2-samplecnn-published": Cost(2_394_162, 3_457_184_000, 70_804_644, 9_600_288),
    "table-2-samplecnn-reproduced": Cost(2_394_162, 3_457_184_000, 70_804_644, 9_600_288),
    "table-2-dieleman-published": Cost(194_270, 84_110_096, 1_131_680, 777_080),
    "table-2-dieleman-reproduced": Cost(194_270, 84_110_096, 1_131_680, 777_080),
    "table-2-waveform-x4": Cost(11_824_058, 11_413_709_648, 115_194_184, 47_331_056),
    "table-2-waveform-x2": Cost(7_034_554, 2_943_869_776, 57_817_928, 28_159_728),
    "table-2-waveform-x1": Cost(5_377_082, 810_492_752, 29_129_800, 21_523_184),
    "table-2-waveform-half": Cost(4_732_666, 269_189_968, 14_785_736, 18_942_192),
    "table-2-waveform-quarter": Cost(4_456_538, 129_885_008, 7_613_704, 17_836_016),
    "table-2-waveform-64f-500u": Cost(1_366_010, 2_822_149_968, 57_606_472, 5_481_968),
    "table-2-waveform-64f-200u": Cost(1_311_710, 2_822_043_168, 57_601_672, 5_262_368),
    "table-2-waveform-128f-500u": Cost(1_831_738, 2_832_313_168, 57_636_680, 7_345_392),
    "table-2-waveform-128f-200u": Cost(1_739_038, 2_832_129_568, 57_631_880, 6_972_192),
    "table-2-waveform-256f-500u": Cost(3_107_258, 2_859_864_912, 57_697_096, 12_448_496),
    "table-2-waveform-256f-200u": Cost(2_937_758, 2_859_527_712, 57_692_296, 11_768_096),
    "table-2-waveform-x2-512f-500u": Cost(7_034_554, 2_943_869_776, 57_817_928, 28_159_728),
    "table-2-waveform-512f-200u": Cost(6_711_454, 2_943_225_376, 57_813_128, 26_864_928),
    "table-3-vgg-published": Cost(17_359_282, 18_918_858_752, 215_364_608, 69_564_528),
    "table-3-vgg-reproduced": Cost(450_482, 737_156_672, 25_610_368, 1_906_800),
    "table-3-timbre_cnn-published": Cost(191_006, 680_896_328, 17_397_168, 897_664),
    "table-3-timbre_cnn-reproduced": Cost(220_870, 988_962_932, 39_734_052, 984_224),
    "table-3-spectrogram-eighth": Cost(4_425_258, 1_121_361_820, 4_895_516, 17_810_464),
    "table-3-spectrogram-quarter": Cost(4_639_386, 1_237_847_976, 6_448_596, 18_667_440),
    "table-3-spectrogram-half": Cost(5_067_642, 1_470_820_288, 9_554_756, 20_381_392),
    "table-3-spectrogram-x1": Cost(5_924_154, 1_936_764_912, 15_767_076, 23_809_296),
    "table-3-spectrogram-x2": Cost(7_637_178, 2_868_654_160, 28_191_716, 30_665_104),
    "table-3-spectrogram-64f-500u": Cost(277_178, 227_516_352, 6_954_564, 1_215_952),
    "table-3-spectrogram-64f-200u": Cost(222_878, 227_409_552, 6_949_764, 996_352),
    "table-3-spectrogram-128f-500u": Cost(617_466, 311_889_856, 7_326_020, 2_577_616),
    "table-3-spectrogram-128f-200u": Cost(524_766, 311_706_256, 7_321_220, 2_204_416),
    "table-3-spectrogram-256f-500u": Cost(1_642_106, 573_878_208, 8_068_932, 6_677_200),
    "table-3-spectrogram-256f-200u": Cost(1_472_606, 573_541_008, 8_064_132, 5_996_800),
    "table-3-spectrogram-half-512f-500u": Cost(5_067_642, 1_470_820_288, 9_554_756, 20_381_392),
    "table-3-spectrogram-512f-200u": Cost(4_744_542, 1_470_175_888, 9_549_956, 19_086_592),
    "table-4-waveform": Cost(5_377_082, 4_290_372_432, 146_236_488, 21_523_184),
    "table-4-samplecnn": Cost(2_394_162, 3_457_184_000, 70_804_644, 9_600_288),
    "table-4-samplecnn_multiscale": Cost(30_619_458, 309_826_684_416, 109_216_768, 122_693_680),
    "table-4-spectrogram": Cost(5_924_154, 9_920_100_912, 79_334_076, 23_809_296),
    "table-4-crnn": Cost(3_028_728, 44_606_775_112, 437_533_180, 12_225_648),
    "table-4-multiscale": Cost(4_880_812, 1_502_015_744, 940_544, 20_525_000),
    "short_chunk": Cost(12_104_242, 5_542_063_616, 26_959_872, 48_597_888),
    "transformer": Cost(4_567_730, 29_967_546_368, 237_189_512, 18_544_904),
    "waveform-attention": Cost(5_409_978, 4_293_721_296, 146_460_692, 21_654_768),
    "spectrogram-attention": Cost(5_957_050, 9_950_634_672, 81_361_664, 23_940_880),
}
