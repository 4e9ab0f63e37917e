"""The few kinds of error that luxdask raises; each is also the built-in it resembles."""


class LuxdaskError(Exception):
    """Base of all errors a user can cause or meet; its message says what to do."""


class ConfigError(LuxdaskError, ValueError):
    """A setting of a task is unknown, of the wrong type, or impossible in combination."""


class MetadataError(LuxdaskError, ValueError):
    """The metadata of an image is missing, not JSON, or contradicts itself."""


class ImageFileError(LuxdaskError, OSError):
    """An image file cannot be read: truncated, not HDF5, or without the expected dataset."""


class ExperimentNotFoundError(LuxdaskError, FileNotFoundError):
    """The given path holds no images of a Luxendo experiment."""


class SelectionError(LuxdaskError, ValueError):
    """A selection matches no image; the message lists what exists."""


class ClusterError(LuxdaskError, RuntimeError):
    """The workers cannot be started or reached."""


class OutputError(LuxdaskError, OSError):
    """The output cannot be written: disk full, no permission, quota, or the folder is in use."""


class TaskFailedError(LuxdaskError, RuntimeError):
    """A task stopped because of an error; the message names view, chunk and log file."""


class TaskStopped(LuxdaskError):
    """A task was stopped by its user and can be resumed."""
