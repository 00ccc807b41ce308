"""What the document cannot say: the parts of a form have file names."""

import schemathesis
