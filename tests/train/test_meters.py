import resource

from danlu.train.meters import Speedometer, peak_memory_bytes


def test_speed_is_that_of_the_window():
    meter = Speedometer(flops_per_token=10.0, peak_flops=1_000.0, window=2)
    assert meter.tokens_per_second == meter.utilisation == 0.0
    for tokens, seconds in ((1_000, 100.0), (30, 1.0), (50, 1.0)):
        meter.add(tokens, seconds)
    assert meter.tokens_per_second == 40.0
    assert meter.utilisation == 0.4


def test_an_unknown_peak_gives_no_utilisation():
    meter = Speedometer(10.0, 0.0)
    meter.add(5, 1.0)
    assert meter.utilisation == 0.0


def test_peak_memory_is_at_least_what_is_held_now():
    assert peak_memory_bytes("cpu") >= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
