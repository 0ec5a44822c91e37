"""A compiled pipeline as a picture: tasks from left to right in the order of their data, loops as frames around theirs.

`python -m pipelines draw` writes it; README and docs/cluster.md show the study's. What stands there is read off the
compiled pipeline, so it is what a cluster gets.
"""

from pathlib import Path
from typing import Any

from pipelines.graph import BEGIN, END, Graph, Loop
from tagscale.runtime.errors import TagscaleError

WIDTH, HEIGHT = 1.24, 0.44  # of a task's box, in inches
COLUMN, ROW = 1.62, 0.78  # between the middles of two boxes
STEP = 1.5  # rows between two ways
COLOURS = {  # fill and line, by what kind of work a task is
    "data": ("#e8f1fb", "#2f6fb3"),
    "model": ("#fdf0e1", "#c0701a"),
    "study": ("#eaf6ec", "#3a8a4d"),
    "around": ("#f2f2f2", "#777777"),
}
KINDS = {"train": "model", "evaluate": "model", "compare": "study", "register": "study", BEGIN: "around", END: "around"}

Place = tuple[float, float]


def draw(graph: Graph, file: Path) -> None:
    """Write a picture of a compiled pipeline.

    Args:
        file: its suffix says the format: .png, .svg or .pdf.
    Raises:
        TagscaleError: a format that there is not.
    """
    if file.suffix not in (".png", ".svg", ".pdf"):
        raise TagscaleError(f"{file}: expected a name that ends in .png, .svg or .pdf.")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    places = placed(graph)
    columns = 1 + max(x for x, _ in places.values())
    rows = [y for _, y in places.values()]
    low, high = min(rows) - 0.9, max(rows) + 0.9
    figure = Figure(figsize=(columns * COLUMN, (high - low) * ROW + 0.2))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-COLUMN / 2, (columns - 0.5) * COLUMN)
    axes.set_ylim(low * ROW, high * ROW)
    for loop in graph.loops:
        _frame(axes, loop, [places[task] for task, inside in graph.inside.items() if inside == loop])
    for writer, reader in sorted(shown_edges(graph)):
        _arrow(axes, places[writer], places[reader])
    for task, place in places.items():
        _box(axes, place, graph.labels[task].split()[0], KINDS.get(graph.functions[task], "data"))
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110, metadata={"Date": None} if file.suffix == ".svg" else None)


def shown_edges(graph: Graph) -> set[tuple[str, str]]:
    """The edges without those that longer ways say too, and from every last task to the end."""
    edges = graph.direct_edges
    last = {task for task in graph.tasks if task != END and not any(writer == task for writer, _ in edges)}
    return edges | {(task, END) for task in last}


def placed(graph: Graph) -> dict[str, Place]:
    """Column and row of every task: columns by the longest way from the beginning, rows around the middle.

    What reads from a loop of its own kind stays in its row, so that the ways of front-ends and baselines are straight.
    """
    edges = shown_edges(graph)
    column = dict.fromkeys(graph.tasks, 0)
    for _ in graph.tasks:  # as often as the longest way can be long
        for writer, reader in edges:
            column[reader] = max(column[reader], column[writer] + 1)
    loops = graph.loops
    row: dict[str, float] = {}
    for number in range(1 + max(column.values())):
        tasks = [task for task in graph.tasks if column[task] == number]
        free = [task for task in tasks if task not in graph.inside]
        for task in tasks:
            if task in graph.inside:
                row[task] = STEP * (len(loops) - 1) / 2 - STEP * loops.index(graph.inside[task])
            elif graph.functions[task] == "describe" and len(loops) > 1:
                row[task] = -STEP / 2
            else:
                row[task] = STEP * (len(free) - 1) / 2 - STEP * free.index(task)
    return {task: (float(column[task]), row[task]) for task in graph.tasks}


def _at(place: Place) -> Place:
    return place[0] * COLUMN, place[1] * ROW


def _box(axes: Any, place: Place, text: str, kind: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y = _at(place)
    fill, line = COLOURS[kind]
    shape = FancyBboxPatch(
        (x - WIDTH / 2, y - HEIGHT / 2),
        WIDTH,
        HEIGHT,
        boxstyle="round,pad=0,rounding_size=0.09",
        facecolor=fill,
        edgecolor=line,
        linewidth=1.3,
        zorder=3,
    )
    axes.add_patch(shape)
    axes.text(x, y, text, ha="center", va="center", fontsize=11, color="#222222", zorder=4)


def _frame(axes: Any, loop: Loop, places: list[Place]) -> None:
    from matplotlib.patches import FancyBboxPatch

    points = [_at(place) for place in places]
    left = min(x for x, _ in points) - WIDTH / 2 - 0.14
    right = max(x for x, _ in points) + WIDTH / 2 + 0.14
    low = min(y for _, y in points) - HEIGHT / 2 - 0.12
    high = max(y for _, y in points) + HEIGHT / 2 + 0.3
    shape = FancyBboxPatch(
        (left, low),
        right - left,
        high - low,
        boxstyle="round,pad=0,rounding_size=0.12",
        facecolor="#fafafa",
        edgecolor="#bbbbbb",
        linewidth=1.0,
        linestyle=(0, (4, 3)),
        zorder=1,
    )
    axes.add_patch(shape)
    count = len(loop.items)
    at_once = f", {min(loop.at_once, count)} at once" if loop.at_once and count > 1 else ""
    text = f"{loop.name}: {count} x{at_once}"
    axes.text(left + 0.1, high - 0.15, text, ha="left", va="center", fontsize=9.5, color="#555555", zorder=4)


def _arrow(axes: Any, start: Place, stop: Place) -> None:
    (x, y), (to_x, to_y) = _at(start), _at(stop)
    bend = 0.0 if y == to_y else 0.12 if to_y > y else -0.12
    axes.annotate(
        "",
        (to_x - WIDTH / 2, to_y),
        (x + WIDTH / 2, y),
        arrowprops={
            "arrowstyle": "-|>",
            "color": "#555555",
            "linewidth": 1.1,
            "shrinkA": 0,
            "shrinkB": 1,
            "connectionstyle": f"arc3,rad={bend}",
        },
        zorder=2,
    )
