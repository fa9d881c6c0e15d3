"""Raw values of one feature to what a model reads: float32 numbers or signed 64-bit ids.

The encodings are those of `tablefold.encoding`, so a value means what it meant in the training log:

dense     integers and floats
int       integers, whole floats below 2^53, or decimal text
hex32     text of 1 to 8 hexadecimal digits
string    text, or integers by their decimal digits

Text may come as bytes of UTF-8. None, NaN and "" are missing values. Truth values are refused for ids: their
text differs from language to language.
"""

from tablefold.client.values.arrays import EncodedIds, one_row
from tablefold.client.values.ids import categorical_ids
from tablefold.client.values.numbers import dense_numbers

__all__ = ["EncodedIds", "categorical_ids", "dense_numbers", "one_row"]
