"""The tree of what may be known when, drawn with dates and probabilities."""

from __future__ import annotations

from rich.text import Text
from rich.tree import Tree as Branches

from allocator.book.book import Book
from allocator.display.console import console, percents
from allocator.outlook.calibration import question_of
from allocator.outlook.posterior import generalizable
from allocator.outlook.scenario_tree import Reviews


def show_tree(book: Book, reviews: Reviews) -> None:
    """Print the tree, and what each branch makes of the question."""
    out, tree, question = console(), reviews.tree, question_of(book)
    out.print(f"{book.settings.book.name} · {book.settings.book.as_of}", style="bold")
    reached, _ = tree.reach()
    branches: list[Branches] = []
    for node in range(tree.nodes):
        day, parent = tree.dates[node], tree.parents[node]
        told = f"{tree.kinds[node]} {day}"
        if node:
            told += f"  {percents(float(tree.probabilities[node]))}, in all {percents(float(reached[node]))}"
        settled = False
        if question is not None:
            p = float(generalizable(question, tree.beliefs[node][None, :])[0])
            settled = max(p, 1 - p) >= question.threshold
            answer = "generalizable" if p >= question.threshold else "proprietary"
            told += f"  P(gen) {percents(p)}{f', settled: {answer}' if settled else ''}"
        label = Text(told, style="green" if settled else "")
        branches.append(Branches(label) if node == 0 else branches[parent].add(label))
    out.print(branches[0])
    until = book.settings.horizon.until
    if tree.nodes == 1:
        out.print("No review lies ahead, or nothing can be learnt by one: state horizon.reviews in book.toml.")
        return
    out.print(
        "Chance coming from the review before, and in all; P(gen): that the technique is generalizable.\n"
        f"{tree.nodes} decisions, {tree.leaves} outcomes on {until}. A verdict comes with the review after a claim; "
        "after it, and after the last review, nothing more is decided."
    )
