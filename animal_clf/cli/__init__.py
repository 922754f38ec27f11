"""The shell command: `animal_clf.cli:main` is its entry point"""
from .main import main
