//! One module per kind: looks at objects, answers with changes to objects.
