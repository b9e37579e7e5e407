"""The words of a report, each with its formula."""

from typing import NamedTuple


class Term(NamedTuple):
    """A word of the page, what it means, and its formula ('' where it has none)."""

    word: str
    meaning: str
    formula: str = ""


def glossary() -> tuple[Term, ...]:
    """In the order in which a reader meets them."""
    return (
        Term("n", "labelled images used, those of the validation part included where it is a share of n"),
        Term("draw", "number of a subset: the first n images of a class-stratified order; the same for every model"),
        Term("seed", "number that decides initialisation, order and augmentation"),
        Term("cell", "the runs that differ in draw and seed alone"),
        Term("arm", "the runs that may stand in one table: same data, size, recipe, budget, training resolution, "
             "validation and precision"),
        Term("accuracy", "share of test images whose class has the largest logit", "a = (1/N) Σᵢ [ŷᵢ = yᵢ]"),
        Term("interval", "95 % Student t-interval of the mean over k independent units (draws, else seeds)",
             "m ± t(0.975; k − 1) · s / √k"),
        Term("paired difference", "taken run by run between models with the same draw and seed", "dᵢ = aᵢ − bᵢ"),
        Term("simultaneous interval", "of a declared family at one train size: with 95 % all of its differences lie in "
             "theirs; s is the residual of accuracy = model + unit, ν its degrees of freedom, c the quantile of the "
             "largest |t| (Dunnett against one, Tukey for all pairs), k the units of both",
             "d ± c(0.95; ν) · s √(2 / k)"),
        Term("chance", "accuracy of guessing among K equally frequent classes", "1 / K"),
        Term("retention", "what is left of the accuracy above chance at test resolution r, of that at the training "
             "resolution R", "(a(r) − 1/K) / (a(R) − 1/K)"),
        Term("data-equivalence factor", "of B against A: the images B has over the images with which A is as accurate, "
             "A's curve read linearly in log n; an interval is over log factors", "n / N_A(a_B(n))"),
        Term("images needed for what A reaches", "the data-equivalence factor the other way, as sentences give it: the "
             "images with which B is as accurate as A is with n, over n; B's curve read linearly in log n",
             "N_B(a_A(n)) / n"),
        Term("crossing N*", "the train sizes at which the paired t-interval of two curves' difference contains 0",
             "{n : |d(n)| ≤ t(0.975; k − 1) · s(n) / √k}"),
        Term("fitted curve", "test error e against n, the form by its error at the largest size, held out",
             "e = a n⁻ᵇ, or c + a n⁻ᵇ; m4: (e − c) / (e₀ − e)^α = a n⁻ᵇ, e₀ the error of guessing"),
        Term("area", "test accuracy averaged over log resolution between the ends r₁ and r₂ of the test resolutions",
             "∫ a d log r / log(r₂ / r₁)"),
        Term("best test resolution", "that with the highest mean accuracy on validation", "argmaxᵣ a_validation(r)"),
        Term("chosen on validation", "the way of carrying positions with the highest mean accuracy over the validation "
             "parts of a model's runs, at each test resolution"),
        Term("test-set error", "binomial standard error of an accuracy on N images; not part of the intervals",
             "√(a (1 − a) / N)"),
        Term("starved", "a cell whose networks do not fit their own training images: too few updates, perhaps, rather "
             "than too few images"),
        Term("MACs, FLOPs", "multiply-accumulates of one image, attention products included", "FLOPs = 2 × MACs"),
        Term("negative log-likelihood", "mean over test images of minus the log of the probability of the true class, "
             "in nats (column nll)", "−(1/N) Σᵢ log p(yᵢ | xᵢ)"),
        Term("calibration error", "distance of confidence and accuracy over 15 bins of equal width of the "
             "predicted class's confidence", "Σ_b (N_b / N) |a_b − p_b|"),
        Term("error consistency", "Cohen's kappa of two networks being right on the same images, o the share on which "
             "they agree in that, e the share expected of independent ones",
             "(o − e) / (1 − e), e = a a′ + (1 − a)(1 − a′)"),
        Term("shares of variance", "where draws and seeds are crossed: of the subset, of the seed, and of their "
             "interaction, by the analysis of variance; negative ones count as 0", "σ²_subset + σ²_seed + σ²_both"),
    )  # fmt: skip
