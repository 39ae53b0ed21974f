"""The tiny models of the student's tests."""

from tests.student.conftest import _save_tiny, _tiny_tokenizer, some_candidates, tiny_llama

__all__ = ["_save_tiny", "_tiny_tokenizer", "some_candidates", "tiny_llama"]
