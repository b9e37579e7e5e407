"""What the classes of a data set are called, in the order of its labels: for tables and figures, no part of a run."""

from benchmarks.data import folders
from benchmarks.data.dataset import DRAWN, FOLDER, Dataset, Places
from benchmarks.data.drawn.probes import probe_of

_DIGITS = "0 1 2 3 4 5 6 7 8 9"
_KNOWN = {
    "digits": _DIGITS,
    "digits_shuffled_labels": _DIGITS,
    "mnist": _DIGITS,
    "svhn": _DIGITS,
    "fashion_mnist": "T-shirt trouser pullover dress coat sandal shirt sneaker bag boot",
    "kmnist": "o ki su tsu na ha ma ya re wo",
    "emnist_letters": "a b c d e f g h i j k l m n o p q r s t u v w x y z",
    "cifar10": "airplane automobile bird cat deer dog frog horse ship truck",
    "stl10": "airplane bird car cat deer dog horse monkey ship truck",
    "cifar100": """
        apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
        castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
        elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
        man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
        pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
        skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
        tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm""",
}


def class_names(data: Dataset, places: Places) -> tuple[str, ...]:
    """The name of each class. Of a folder of images those of its subfolders (`places` says where its index lies); a
    number where a data set names its classes by numbers alone. Of photographs those of their manifest."""
    if data.photographs or data.name.startswith(FOLDER):
        return folders.index_of(data.name, places).classes
    if data.name.startswith(DRAWN):
        return probe_of(data.name).classes
    known = tuple(word.replace("_", " ") for word in _KNOWN.get(data.name, "").split())
    return known or tuple(str(number) for number in range(data.classes))
