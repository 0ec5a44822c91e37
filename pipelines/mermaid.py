"""A compiled pipeline as the text of a mermaid flowchart, which GitHub shows as a picture.

`tagscale pipelines draw` prints it, and README shows the study's. It is read off the compiled pipeline, so it shows
what a cluster gets.
"""

from pipelines.graph import END, Graph, reaches


def flowchart(graph: Graph) -> str:
    """Tasks from left to right in the order of their data, with a frame around the tasks of a loop."""
    edges = shown_edges(graph)
    before = {task: sum(reaches(edges, other, task) for other in graph.tasks) for task in graph.tasks}
    tasks = sorted(graph.tasks, key=lambda task: (before[task], task))
    lines = ["flowchart LR"]
    lines += [f"    {_node(graph, task)}" for task in tasks if task not in graph.inside]
    for number, loop in enumerate(graph.loops):
        count = len(loop.items)
        at_once = f", {min(loop.at_once, count)} at once" if loop.at_once and count > 1 else ""
        lines += [f'    subgraph loop{number} ["{loop.name}: {count} x{at_once}"]']
        lines += [f"        {_node(graph, task)}" for task in tasks if graph.inside.get(task) == loop]
        lines += ["    end"]
    lines += [f"    {_name(writer)} --> {_name(to)}" for writer in tasks for to in tasks if (writer, to) in edges]
    return "\n".join(lines) + "\n"


def shown_edges(graph: Graph) -> set[tuple[str, str]]:
    """The edges that no longer way implies, and one from every last task to the end, where there is one."""
    edges = graph.direct_edges
    if END not in graph.tasks:
        return edges
    writers = {writer for writer, _ in edges}
    return edges | {(task, END) for task in graph.tasks if task != END and task not in writers}


def _node(graph: Graph, task: str) -> str:
    return f'{_name(task)}["{graph.labels[task].split()[0]}"]'


def _name(task: str) -> str:
    """The node's name in the text; mermaid reserves the word `end`."""
    return f"task_{task.replace('-', '_')}"
