"""Learning-rate schedules, and the setting `train_recipe`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radiograft.config import FineTune
from radiograft.config.training import RECIPES, Recipe
from radiograft.training.optimizers import count_plateaus, learning_rate

recipes = st.builds(
    Recipe, schedule=st.sampled_from(["constant", "cosine", "plateau"]), warm_up=st.floats(0, 0.5), ema=st.just(0.0)
)
losses = st.lists(st.floats(0, 10), max_size=12)


def rates(recipe: Recipe, steps: int, *losses: float, highest: float = 0.8) -> list[float]:
    return [learning_rate(recipe, highest, step, steps, losses) for step in range(steps)]


class TestLearningRate:
    def test_learning_rate_default_is_constant(self) -> None:
        assert rates(Recipe(), 5, 3.0, 4.0, 5.0) == [0.8] * 5

    def test_learning_rate_warm_up_rises_linearly(self) -> None:
        assert rates(Recipe(warm_up=0.4), 10) == pytest.approx([0.2, 0.4, 0.6, 0.8, *[0.8] * 6])

    def test_learning_rate_cosine_falls_to_zero(self) -> None:
        values = rates(Recipe(schedule="cosine"), 1001)
        assert [values[step] for step in (0, 500, 1000)] == pytest.approx([0.8, 0.4, 0.0], abs=2e-3)
        assert rates(Recipe(schedule="cosine"), 4) == pytest.approx([0.8, 0.682843, 0.4, 0.117157], abs=1e-6)

    def test_learning_rate_cosine_starts_after_warm_up(self) -> None:
        values = rates(Recipe(schedule="cosine", warm_up=0.5), 8)
        assert values == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.682843, 0.4, 0.117157], abs=1e-6)

    def test_learning_rate_plateau_divides_by_ten(self) -> None:
        recipe = Recipe(schedule="plateau")
        values = [learning_rate(recipe, 0.8, 0, 9, seen) for seen in ([3.0], [3, 4.0], [3, 4, 3.5], [3, 4, 3.5, 3, 3])]
        assert values == pytest.approx([0.8, 0.8, 0.08, 0.008])

    @given(recipe=recipes, steps=st.integers(1, 200), seen=losses)
    def test_learning_rate_is_between_zero_and_highest(self, recipe: Recipe, steps: int, seen: list[float]) -> None:
        assert all(0 <= rate <= 0.8 * (1 + 1e-12) for rate in rates(recipe, steps, *seen))

    @given(warm_up=st.floats(0, 0.5), steps=st.integers(1, 200))
    def test_learning_rate_rises_in_warm_up_and_falls_on_cosine(self, warm_up: float, steps: int) -> None:
        values = rates(Recipe(schedule="cosine", warm_up=warm_up), steps)
        warm = round(warm_up * steps)
        assert values[:warm] == sorted(values[:warm])
        assert values[warm:] == sorted(values[warm:], reverse=True)


class TestPlateaus:
    @pytest.mark.parametrize(
        ("seen", "count"),
        [
            ([], 0),
            ([1.0, 1.0], 0),
            ([1.0, 1.0, 1.0], 1),
            ([3.0, 2.0, 2.5, 1.5, 2.0, 1.4], 0),
            ([1.0, 2.0, 2.0, 2.0], 1),
            ([1.0, 2.0, 2.0, 2.0, 2.0], 2),
            ([1.0, 2.0, 2.0, 0.5, 0.6, 0.7], 2),
        ],
    )
    def test_count_plateaus_counts_pairs_of_epochs_without_improvement(self, seen: list[float], count: int) -> None:
        assert count_plateaus(seen) == count

    @given(seen=losses, loss=st.floats(0, 10))
    def test_count_plateaus_one_more_epoch_adds_at_most_one(self, seen: list[float], loss: float) -> None:
        assert count_plateaus([*seen, loss]) - count_plateaus(seen) in (0, 1)
        assert count_plateaus(seen) <= len(seen) // 2


def parse(text: str) -> Recipe:
    return Recipe.parse("train_recipe", text, RECIPES)


class TestSetting:
    def test_parse_preset_returns_recipe(self) -> None:
        assert parse("poster") == Recipe()
        assert parse("chexnet") == Recipe(schedule="plateau", loss_weights="balanced")

    def test_parse_all_fields_returns_recipe(self) -> None:
        text = "schedule=cosine, warm_up=0.1,layer_decay=0.7,ema=0.99,clip_norm=1,label_smoothing=0.1"
        assert parse(f"{text},loss_weights=balanced") == Recipe("cosine", 0.1, 0.7, 0.99, 1.0, 0.1, "balanced")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("chexnett", "train_recipe must be one of poster, chexnet or name=value,..., got 'chexnett'; did you mean"),
            ("shedule=cosine", "train_recipe has no 'shedule'; did you mean 'schedule'?"),
            ("schedule=cosin", "schedule must be one of constant, cosine, plateau, got 'cosin'; did you mean 'cosine'"),
            ("warm_up=0.6", "warm_up must be at most 0.5, got 0.6"),
            ("layer_decay=0", "layer_decay must be at least 0.1, got 0.0"),
            ("layer_decay=1.5", "layer_decay must be at most 1, got 1.5"),
            ("ema=1", "ema must be at most 0.99999, got 1.0"),
            ("clip_norm=-1", "clip_norm must be at least 0, got -1.0"),
            ("label_smoothing=nan", "label_smoothing must be a finite number, got nan"),
            ("ema=much", "train_recipe's ema must be of type float, got 'much'"),
            ("poster,ema=0.9", "train_recipe must be one of poster, chexnet or name=value,..., got 'poster,ema=0.9'"),
            ("", "train_recipe must be one of poster, chexnet or name=value,..., got ''"),
        ],
    )
    def test_settings_invalid_recipe_raises(self, text: str, message: str) -> None:
        with pytest.raises(ValueError) as error:  # noqa: PT011  the start of the message is compared below
            FineTune(train_recipe=text)
        assert str(error.value).startswith(message)
