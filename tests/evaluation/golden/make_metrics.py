"""Writes metrics.csv (made-up labels and scores) and metrics.json (their metrics by scikit-learn), beside this file.

    python tests/evaluation/golden/make_metrics.py

The two are committed; test_metrics.py holds our metrics against them. Run again only to change the cases.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import sklearn
from sklearn.metrics import average_precision_score, roc_auc_score, root_mean_squared_error

HERE = Path(__file__).parent
TRACKS = 80
REGRESSION = ("energy", "tempo")


def cases() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Labels and scores, a column a tag: what each tag is there for, its name says."""
    random = np.random.default_rng(20260101)
    level = random.normal(size=TRACKS)
    heard = level + random.normal(size=TRACKS)
    score = 1 / (1 + np.exp(-heard))
    labels, scores = pd.DataFrame(index=range(TRACKS)), pd.DataFrame(index=range(TRACKS))
    for tag, limit in (("common", -0.5), ("rare", 1.6), ("ties", 0.4), ("constant", 0.0), ("missing", 0.2)):
        labels[tag], scores[tag] = (level > limit).astype(float), score
    scores["ties"] = score.round(1)
    scores["constant"] = 0.5
    labels.loc[random.random(TRACKS) < 0.4, "missing"] = np.nan
    labels["soft"], scores["soft"] = (level.clip(-1, 1) / 2 + 0.5).round(2), score
    labels["reversed"], scores["reversed"] = (level > 0).astype(float), 1 - score
    labels["energy"], scores["energy"] = (level.clip(-2, 2) / 4 + 0.5).round(3), score
    labels["tempo"], scores["tempo"] = (heard.clip(-3, 3) / 6 + 0.5).round(3), score
    labels.loc[random.random(TRACKS) < 0.5, "tempo"] = np.nan
    return labels, scores.round(6)


def metrics(labels: np.ndarray, scores: np.ndarray, regression: bool) -> dict[str, float]:
    known = ~np.isnan(labels)
    labels, scores = labels[known], scores[known]
    if regression:
        return {"rmse": float(root_mean_squared_error(labels, scores))}
    return {
        "roc_auc": float(roc_auc_score(labels >= 0.5, scores)),
        "pr_auc": float(average_precision_score(labels >= 0.5, scores)),
    }


def main() -> None:
    labels, scores = cases()
    table = pd.concat({"label": labels, "score": scores}, axis=1)
    table.columns = [f"{what} {tag}" for what, tag in table.columns]
    table.to_csv(HERE / "metrics.csv", index=False, lineterminator="\n")
    found = {tag: metrics(labels[tag].to_numpy(), scores[tag].to_numpy(), tag in REGRESSION) for tag in labels}
    macro = {
        metric: float(np.mean([values[metric] for values in found.values() if metric in values]))
        for metric in ("roc_auc", "pr_auc", "rmse")
    }
    content = {"scikit-learn": sklearn.__version__, "tags": found, "macro": macro}
    (HERE / "metrics.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
