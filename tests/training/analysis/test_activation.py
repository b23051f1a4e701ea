"""Class activation maps: they add up to the logits, and peak where a planted network looks."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from dali_pipes.errors import InputError
from tests.training.planted import plain_clips, planted, shaken
from train.analysis.activation import check_finite, class_maps, is_exact, map_frames, stretch
from train.models.zoo import MODELS

FRAMES, SIDE = 32, 64
CLASSES = torch.tensor([[0, 3], [4, 1]])  # of two clips
EXACT = [(name, layer) for name, model in MODELS.items() if is_exact(name) for layer in model.features]


def clips_for(name: str) -> torch.Tensor:
    return torch.randn(2, 3, FRAMES // MODELS[name].keep_every, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def outputs_of(network, clips_BCTHW, *names) -> list[torch.Tensor]:
    """The logits and what the named layers gave."""
    kept = {}
    handles = [
        network.backbone.get_submodule(name).register_forward_hook(lambda m, i, o, name=name: kept.update({name: o}))
        for name in names
    ]
    with torch.no_grad():
        logits = network(clips_BCTHW)
    for handle in handles:
        handle.remove()
    return [logits, *(kept[name] for name in names)]


def test_slowfasts_map_and_the_fast_paths_part_are_the_logit():
    network = shaken("slowfast50")
    clips = clips_for("slowfast50")
    maps = class_maps(network, clips, CLASSES)
    logits, slow, fast = outputs_of(network, clips, "slow.4", "fast.4")
    weights_KC, channels = network.backbone.classifier.weight.detach(), slow.shape[1]
    # the definition: the features weighted with the classifier's weights of the class
    by_hand = torch.einsum("bpc,bcthw->bpthw", weights_KC[CLASSES][..., :channels], slow)
    assert by_hand.abs().max() > 0.1 and maps.maps_BPTHW.shape == (2, 2, 2, 2, 2)
    torch.testing.assert_close(maps.maps_BPTHW, by_hand, rtol=1e-4, atol=1e-4)
    rest_BK = fast.mean(dim=(2, 3, 4)) @ weights_KC[:, channels:].T + network.backbone.classifier.bias.detach()
    total_BP = maps.maps_BPTHW.mean(dim=(2, 3, 4)) + rest_BK.gather(1, CLASSES)
    torch.testing.assert_close(total_BP, logits.gather(1, CLASSES), rtol=0, atol=1e-4)
    assert torch.equal(maps.logits_BK, logits)
    # and the fast path has a map of its own, finer in time
    of_fast = class_maps(network, clips, CLASSES, "fast").maps_BPTHW
    both_BP = maps.maps_BPTHW.mean(dim=(2, 3, 4)) + of_fast.mean(dim=(2, 3, 4))
    assert of_fast.shape[2] == 16 and of_fast.abs().max() > 0.01
    torch.testing.assert_close(
        both_BP + network.backbone.classifier.bias.detach()[CLASSES], logits.gather(1, CLASSES), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("name", [name for name, _ in EXACT if name != "slowfast50"])
def test_the_mean_of_a_map_and_the_bias_are_the_logit(name):
    network = shaken(name)
    maps = class_maps(network, clips_for(name), CLASSES)
    classifier = network.backbone.get_submodule(MODELS[name].classifier)
    bias_K, weights_KC = classifier.bias.detach(), classifier.weight.detach().flatten(1)
    (features,) = outputs_of(network, clips_for(name), *MODELS[name].features.values())[1:]
    features_BCTHW = features.movedim(-1, 1) if MODELS[name].layout == "BTHWC" else features
    by_hand = torch.einsum("bpc,bcthw->bpthw", weights_KC[CLASSES], features_BCTHW)
    torch.testing.assert_close(maps.maps_BPTHW, by_hand, rtol=1e-3, atol=1e-4)
    counted_BP = (maps.maps_BPTHW * maps.weights_BTHW[:, None]).mean(dim=(2, 3, 4))
    assert bias_K.abs().min() > 0 and maps.maps_BPTHW.std() > 1e-3
    torch.testing.assert_close(counted_BP + bias_K[CLASSES], maps.logits_BK.gather(1, CLASSES), rtol=0, atol=1e-4)
    if name != "s3d":
        torch.testing.assert_close(maps.weights_BTHW, torch.ones_like(maps.weights_BTHW))
    alone = class_maps(network, clips_for(name)[1:], CLASSES[1:])
    torch.testing.assert_close(alone.maps_BPTHW, maps.maps_BPTHW[1:], rtol=1e-3, atol=1e-4)


def test_places_of_overlapping_means_count_more_but_their_map_is_no_higher():
    """s3d's mean over 2 of 4 times, at each of 3 places."""
    network = shaken("s3d", num_frames=64)
    clips = torch.randn(1, 3, 32, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    maps = class_maps(network, clips, CLASSES[:1])
    torch.testing.assert_close(maps.weights_BTHW[0, :, 0, 0], torch.tensor([2, 4, 4, 2]) / 3, rtol=1e-4, atol=1e-4)
    (features,) = outputs_of(network, clips, "features")[1:]
    weights_KC = network.backbone.classifier[1].weight.detach().flatten(1)
    by_hand = torch.einsum("pc,cthw->pthw", weights_KC[CLASSES[0]], features[0])
    torch.testing.assert_close(maps.maps_BPTHW[0], by_hand, rtol=1e-3, atol=1e-4)


def test_grad_cam_where_a_class_token_comes_between():
    network, clips = shaken("mvit_v2_s"), clips_for("mvit_v2_s")
    maps = class_maps(network, clips, CLASSES)
    assert maps.maps_BPTHW.shape == (2, 2, 4, 2, 2) and maps.maps_BPTHW.std() > 0
    # by hand: each channel of the patches weighted with the mean of the logit's gradient
    kept = []
    handle = network.backbone.blocks[15].norm1.register_forward_hook(lambda m, i, o: kept.append(o))
    logits = network(clips)
    handle.remove()
    for clip in range(2):
        for place in range(2):
            (gradient,) = torch.autograd.grad(logits[clip, CLASSES[clip, place]], kept[0], retain_graph=True)
            weights_C = gradient[clip, 1:].mean(dim=0)
            by_hand = (kept[0][clip, 1:] * weights_C).sum(dim=1).view(4, 2, 2)
            torch.testing.assert_close(maps.maps_BPTHW[clip, place], by_hand, rtol=1e-3, atol=1e-6)


def test_nothing_stays_behind():
    for name, layer in (("mc3_18", "layer4"), ("mvit_v2_s", "blocks.15.norm1")):
        network, clips = shaken(name), clips_for(name)
        before = outputs_of(network, clips)[0]
        maps = class_maps(network, clips, CLASSES)
        assert not maps.maps_BPTHW.requires_grad and not maps.logits_BK.requires_grad
        assert not network.backbone.get_submodule(layer)._forward_hooks
        assert all(parameter.grad is None for parameter in network.parameters())
        assert torch.equal(outputs_of(network, clips)[0], before)
        with torch.no_grad():  # as callers may be
            assert torch.equal(class_maps(network, clips, CLASSES).maps_BPTHW, maps.maps_BPTHW)


def test_nothing_is_mixed_with_tensors_of_another_device():
    """As on a GPU, where the classes that are asked for are on the CPU; meta tensors refuse it too."""
    for name, layer in EXACT:
        maps = class_maps(deepcopy(shaken(name)).to("meta"), clips_for(name).to("meta"), CLASSES, layer)
        assert maps.maps_BPTHW.is_meta and maps.logits_BK.is_meta


@pytest.mark.parametrize(
    "frames, num_times, expected",
    [(16, 2, [0, 8]), (17, 3, [0, 8, 16]), (9, 2, [0, 8]), (12, 2, [0, 8]), (4, 4, [0, 1, 2, 3]), (8, 1, [0])],
)
def test_times_of_clips_that_the_strides_do_not_divide(frames, num_times, expected):
    assert map_frames(num_times, frames).tolist() == expected


def test_the_strides_of_r3d_18():
    """Of 17 frames, what is in frame 8 alone changes the second time most."""
    network, clip = shaken("r3d_18", num_frames=68), torch.zeros(1, 3, 17, SIDE, SIDE)
    changed = clip.clone()
    changed[:, :, 8] = 2.0
    one, other = (class_maps(network, clips, CLASSES[:1]).over_time_BPT[0, 0] for clips in (clip, changed))
    assert len(one) == 3 and (one - other).abs().argmax() == 1


def test_scores_that_are_no_numbers_are_refused():
    network = planted()
    maps = class_maps(network, plain_clips(0), torch.tensor([[0]]))
    assert check_finite(maps, network) is maps
    with torch.no_grad():
        network.backbone.classifier.weight[1, 1] = float("nan")
    with pytest.raises(InputError, match="the scores of this slowfast50 are not finite numbers"):
        check_finite(class_maps(network, plain_clips(0), torch.tensor([[0]])), network)


def test_an_unknown_layer_is_named():
    with pytest.raises(InputError, match="--layer.*slwo.*slow, fast"):
        class_maps(planted(), plain_clips(0), torch.tensor([[0]]), "slwo")


def test_the_map_peaks_where_and_when_a_planted_network_looks():
    mask_THW = torch.zeros(8, 4, 4)
    mask_THW[6, 3, 0] = 1.0  # frames 12 and 13, the corner below on the left
    clips = torch.rand(1, 3, 16, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.5
    maps = class_maps(planted(mask_THW), clips, torch.tensor([[1, 2]])).maps_BPTHW[0]
    for map_THW, colour in zip(maps, (1, 2), strict=True):
        assert (map_THW > 0).nonzero().tolist() == [[6, 3, 0]]
        assert map_THW[6, 3, 0] == pytest.approx((clips[0, colour, 12:14, 24:, :8] + 1).mean().item(), abs=1e-4)
        shown = stretch(map_THW, 16, 32)
        frame, row, column = np.unravel_index(shown.argmax().item(), shown.shape)
        assert (frame, shown.shape) == (12, (16, 32, 32)) and row >= 24 and column < 8
        assert (shown[:11] == 0).all() and (shown[14:] == 0).all() and (shown[:, :20] == 0).all()


def test_maps_tell_colours_apart():
    maps = class_maps(planted(), plain_clips(0, 2), torch.tensor([[0, 2], [0, 2]]))
    assert maps.over_time_BPT.shape == (2, 2, 8)
    expected = torch.tensor([[2.0, 0.0], [0.0, 2.0]])[..., None].expand(2, 2, 8)
    torch.testing.assert_close(maps.over_time_BPT, expected)


def test_times_of_a_map_are_the_frames_that_the_slow_path_sees():
    network, clips = shaken("slowfast50"), clips_for("slowfast50")
    times = map_frames(2, 16)
    assert times.tolist() == [0, 8]
    seen = network.backbone.slow[0]
    kept = []
    handle = seen.register_forward_pre_hook(lambda module, inputs: kept.append(inputs[0]))
    class_maps(network, clips, CLASSES)
    handle.remove()
    assert torch.equal(kept[0], clips[:, :, times.astype(int)])


def test_stretching_is_linear_in_time_and_then_constant():
    map_THW = torch.tensor([1.0, 3.0, 2.0])[:, None, None].expand(3, 2, 2)
    shown = stretch(map_THW, 12, 6)
    expected_F = torch.tensor([1, 1.5, 2, 2.5, 3, 2.75, 2.5, 2.25, 2, 2, 2, 2])
    torch.testing.assert_close(shown, expected_F[:, None, None].expand(12, 6, 6))
    assert torch.equal(stretch(map_THW[:1], 4, 2), torch.ones(4, 2, 2))
