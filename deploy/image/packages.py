"""Prints a table of the installed packages: name, version, licence, where its text is."""

from importlib.metadata import Distribution, distributions

_CLASSIFIER = "License :: "
_LONGEST = 60


def licence(package: Distribution) -> str:
    """What the package's metadata calls its licence."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return expression
    classifiers = metadata.get_all("Classifier") or []
    named = [line.rsplit(" :: ", 1)[1] for line in classifiers if line.startswith(_CLASSIFIER)]
    # Some put the whole text into this field: its first line says which it is.
    first = (metadata.get("License") or "").strip().partition("\n")[0]
    return ", ".join(named) or first[:_LONGEST] or "see its files"


def texts(package: Distribution) -> list[str]:
    """Paths of the licence's text and of notices."""
    wanted = ("licen", "copying", "notice")
    files = package.files or []
    inside = [file for file in files if ".dist-info" in file.parts[0]]
    return [str(file.locate()) for file in inside if file.name.lower().startswith(wanted)]


def main() -> None:
    for package in sorted(distributions(), key=lambda each: each.metadata["Name"].lower()):
        if package.metadata["Name"] == "parley":
            continue
        print(f"{package.metadata['Name']} {package.version}: {licence(package)}")
        for path in texts(package):
            print(f"    {path}")


if __name__ == "__main__":
    main()
