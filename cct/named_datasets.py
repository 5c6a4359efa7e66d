"""The datasets by name: sizes, classes and statistics, not the data. Standard library only, never torch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInfo:
    """A dataset as the board knows it: images, or texts. Sizes are numbers of them."""

    title: str
    num_classes: int | None = None
    """This and the other sizes are None where they are known only when the files are read."""
    train_size: int | None = None
    test_size: int | None = None
    image_size: int | None = None
    """Side in pixels; None for texts, and for images of all sizes, which become as large as the model's."""
    border: int = 0
    """Black pixels on each side of `image_size` that the published images do not have."""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    """Mean and standard deviation per channel of pixels scaled to 0..1."""
    vocabulary_size: int = 0
    """Most frequent words of the training texts that models know, padding and the unknown word included."""
    bundled: bool = False
    augmentation: str = "autoaugment"
    """What `auto` stands for in a run's spec."""
    flips_change_classes: bool = False
    """Whether an image's mirror image is of another class, or of none, as with digits and letters."""
    class_names: tuple[str, ...] = ()
    """Names in the order of the labels; empty where classes are known by their numbers, or when the files are read."""

    @property
    def has_texts(self) -> bool:
        return self.vocabulary_size > 0


_CIFAR100_CLASSES = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can "
    "castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin "
    "elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard "
    "lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear "
    "pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal "
    "shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank "
    "telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)

_FLOWERS = (
    "pink primrose,hard-leaved pocket orchid,canterbury bells,sweet pea,english marigold,tiger lily,moon orchid,"
    "bird of paradise,monkshood,globe thistle,snapdragon,colt's foot,king protea,spear thistle,yellow iris,"
    "globe-flower,purple coneflower,peruvian lily,balloon flower,giant white arum lily,fire lily,pincushion flower,"
    "fritillary,red ginger,grape hyacinth,corn poppy,prince of wales feathers,stemless gentian,artichoke,"
    "sweet william,carnation,garden phlox,love in the mist,mexican aster,alpine sea holly,ruby-lipped cattleya,"
    "cape flower,great masterwort,siam tulip,lenten rose,barbeton daisy,daffodil,sword lily,poinsettia,"
    "bolero deep blue,wallflower,marigold,buttercup,oxeye daisy,common dandelion,petunia,wild pansy,primula,"
    "sunflower,pelargonium,bishop of llandaff,gaura,geranium,orange dahlia,pink-yellow dahlia?,cautleya spicata,"
    "japanese anemone,black-eyed susan,silverbush,californian poppy,osteospermum,spring crocus,bearded iris,"
    "windflower,tree poppy,gazania,azalea,water lily,rose,thorn apple,morning glory,passion flower,lotus,toad lily,"
    "anthurium,frangipani,clematis,hibiscus,columbine,desert-rose,tree mallow,magnolia,cyclamen,watercress,"
    "canna lily,hippeastrum,bee balm,ball moss,foxglove,bougainvillea,camellia,mallow,mexican petunia,bromelia,"
    "blanket flower,trumpet creeper,blackberry lily"
)

DATASETS: dict[str, DatasetInfo] = {
    "ag_news": DatasetInfo(
        title="AG News (texts)",
        num_classes=4,
        train_size=120_000,
        test_size=7_600,
        vocabulary_size=20_000,
        augmentation="none",
        class_names=("World", "Sports", "Business", "Sci/Tech"),
    ),
    "cifar10": DatasetInfo(
        title="CIFAR-10",
        num_classes=10,
        train_size=50_000,
        test_size=10_000,
        image_size=32,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    ),
    "cifar100": DatasetInfo(
        title="CIFAR-100",
        num_classes=100,
        train_size=50_000,
        test_size=10_000,
        image_size=32,
        mean=(0.5071, 0.4867, 0.4408),
        std=(0.2675, 0.2565, 0.2761),
        class_names=tuple(_CIFAR100_CLASSES.split()),
    ),
    "digits": DatasetInfo(
        title="Digits (scikit-learn, bundled)",
        num_classes=10,
        train_size=1_437,
        test_size=360,
        image_size=32,
        mean=(0.3057,) * 3,
        std=(0.3238,) * 3,
        class_names=tuple("0123456789"),
        bundled=True,
        augmentation="crop",
        flips_change_classes=True,
    ),
    "fashion_mnist": DatasetInfo(
        title="Fashion-MNIST",
        num_classes=10,
        train_size=60_000,
        test_size=10_000,
        image_size=32,
        border=2,
        mean=(0.2190,) * 3,
        std=(0.3318,) * 3,
        class_names=(
            *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
            *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
        ),
    ),
    "flowers102": DatasetInfo(
        title="Oxford 102 Flower",
        num_classes=102,
        train_size=2_040,
        test_size=6_149,
        mean=(0.4353, 0.3773, 0.2872),
        std=(0.2966, 0.2455, 0.2698),
        class_names=tuple(_FLOWERS.split(",")),
    ),
    "image_folder": DatasetInfo(
        title="Images of your own, in a folder per class",
        mean=(0.485, 0.456, 0.406),  # ImageNet's
        std=(0.229, 0.224, 0.225),
    ),
    "mnist": DatasetInfo(
        title="MNIST",
        num_classes=10,
        train_size=60_000,
        test_size=10_000,
        image_size=32,
        border=2,
        mean=(0.1000,) * 3,
        std=(0.2752,) * 3,
        class_names=tuple("0123456789"),
        augmentation="crop",
        flips_change_classes=True,
    ),
    "trec": DatasetInfo(
        title="TREC (texts)",
        num_classes=6,
        train_size=5_452,
        test_size=500,
        vocabulary_size=8_000,
        augmentation="none",
        class_names=("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"),
    ),
}
