"""A language server: findings while one types, what a word means, where it is declared, what could stand here.

`server.py` speaks the protocol, and is the only module that knows it. `project.py` holds a source as an editor has it,
with what the phases find in it. `cursor.py` says where in a document the cursor is, also while that document is half
typed; `meaning.py` what may stand there, by the models; `references.py` what a name refers to. `hover.py` and
`completion.py` put these into words.
"""
