"""What a file's name, a server or another library said reaches a terminal as words on one line, or not at all."""

import keras
import numpy as np
import pytest

from mppar_tf import flagfiles
from mppar_tf.messages import one_line, reason


@pytest.mark.parametrize("given, told", [
    ("two\nlines\r\n  and\ta tab", "two lines and a tab"), ("\x1b[31mred\x1b[0m\x07", "red"),
    ("a name\udcff of no encoding", "a name of no encoding"),
    (ValueError("what is wrong"), "what is wrong"), ("żółw 猫", "żółw 猫"), ("", "")])
def test_one_line(given, told):
  assert one_line(given) == told and told.isprintable()
  assert one_line(given, 5) == told[:5]


def test_the_reason_that_keras_wraps_in_a_layer_s_name():
  class Refusing(keras.layers.Layer):
    def call(self, x):
      raise ValueError("height is 33 pixels")
  with pytest.raises(ValueError, match="encountered when calling Refusing") as told:
    Refusing()(np.zeros((1, 33)))
  assert reason(told.value) == "height is 33 pixels"
  assert reason(ValueError("one\ntwo")) == "one" and reason(ValueError()) == "ValueError"


def test_what_steers_a_terminal_is_not_given_back_by_an_error(capsys):
  def program():
    raise flagfiles.OptionError("a file called \x1b]0;owned\x07x\nis no video")
  assert flagfiles.main(program, (), "", arguments=[]) == 2
  assert capsys.readouterr().err.endswith(": a file called ]0;ownedx is no video\n")
