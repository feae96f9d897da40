"""Are the two files of every chapter in step? ``python -m book.tools.pairs``"""

from book.tools import chapters


def main() -> None:
    wrong = [problem for md in chapters.find() if (problem := chapters.out_of_step(md))]
    sources = {md.stem for md in chapters.find()}
    wrong += [
        f"{ipynb.name} has no {ipynb.stem}.md beside it; write the one or remove the other"
        for ipynb in sorted(chapters.NOTEBOOKS.glob("*.ipynb"))
        if ipynb.stem not in sources
    ]
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
