"""How much of a teacher of images do fewer passes keep, and how much of the way from DD1 to the teacher is DD2?

    python benchmarks/images.py [--each 100] [--repeat 5] [--threads 1] [--other FOLDER] [--quick]
    python benchmarks/images.py --models models/mnist-ar,models/mnist-var      # made by decant.house.digits --mnist

`bench --suite images` on house:digits-ar and house:digits-var, or --models: every method makes as many images of every
class from the same seeds, and a judge of our own (no FID) says how far they are from real images and from other images
of the teacher, whose own distance to those is what another set of its images has. Gap closed: of the way from DD1's one
pass to the teacher, nearer to real images, how much DD2's one pass has behind it. --other: the folder of another
student of dd1 of house:digits-ar, beside the one that is shipped.

Left out: seconds that mean anything (a pass of so small a model is mostly overhead).
"""

from typing import Any

from decant.apps.gallery import Show, Suite, judge_of, run
from decant.bench.study import begin, heading, options, save
from decant.models.images.folder import read_images

MODELS = "house:digits-ar,house:digits-var"


def closed(rows: dict[str, dict[str, Any]]) -> float:
    """1: DD2 is as near to real images as the teacher; 0: no nearer than DD1."""
    teacher, one, two = (rows[name]["frechet_distance"] for name in ("plain", "dd1-1", "dd2-1"))
    return (one - two) / (one - teacher)


def main() -> None:
    parser = options(__doc__ or "", repeat=5)
    parser.add_argument("--each", type=int, default=100, help="images of a class")
    parser.add_argument("--models", default=MODELS, help="teachers with students beside them, commas between")
    parser.add_argument("--other", help="folder of another student of dd1, of house:digits-ar")
    chosen = parser.parse_args()
    facts = begin(chosen)
    print(heading(facts))
    found: dict[str, Any] = {}
    for name in chosen.models.split(","):
        model = read_images(name)
        suite = Suite(each=2 if chosen.quick else chosen.each, repeat=chosen.repeat)
        report = run(Show(model, judge_of(model)), "all", suite)
        rows = {row["name"]: row for row in report["methods"]}
        if chosen.other and model.kind == "raster":
            other = run(Show(model, judge_of(model), student=chosen.other), ["dd1-1", "dd1-2"], suite)["methods"]
            rows |= {f"{row['name']} of --other": row for row in other if row["name"] != "plain"}
        print(f"\n{name}, {suite.each} images of each class, {suite.repeat} seeds; floors {report['floors']}")
        for label, row in rows.items():
            low, high = row["spread"]["frechet_distance"]
            to_real = f"{row['frechet_distance']:5.2f} ({low:.2f}-{high:.2f}) to real"
            others = f"{row['frechet_to_teacher']:5.2f} to the teacher, recall {row['recall']:.2f}"
            right = f"{100 * row['class_accuracy']:.1f} % right"
            print(f"  {label:20} {row['forwards']:5.2f} forwards {to_real}, {others}, {right}")
        print(f"  gap closed by dd2-1: {closed(rows):.0%}")
        found[name] = {"methods": rows, "floors": report["floors"], "gap_closed": closed(rows)}
    save({"machine": facts, "each": chosen.each, "models": found}, __file__, chosen)


if __name__ == "__main__":
    main()
