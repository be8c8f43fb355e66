from .calibration.calibration import calibrate as calibrate
from .calibration.goals import CalibrationError as CalibrationError
from .calibration.goals import Goals as Goals
from .calibration.thresholds import select_thresholds as select_thresholds
from .chip import ChipFixed as ChipFixed
from .chip import ChipFloat as ChipFloat
from .coefficients import Coefficients as Coefficients
from .config import ChipConfig as ChipConfig
from .config import ConfigError as ConfigError
from .config import PrecisionWarning as PrecisionWarning
from .detection import DetectorFixed as DetectorFixed
from .detection import DetectorFloat as DetectorFloat
from .events import Events as Events
from .events import Recalibrations as Recalibrations
from .events import Result as Result
from .experiment.engine import Course as Course
from .experiment.engine import Engine as Engine
from .experiment.preparation import Preparation as Preparation
from .experiment.preparation_settings import PreparationSettings as PreparationSettings
from .experiment.protocol import (
    TRAINING as TRAINING,
)
from .experiment.protocol import (
    DetectionQuality as DetectionQuality,
)
from .experiment.protocol import (
    Protocol as Protocol,
)
from .experiment.protocol import (
    Score as Score,
)
from .experiment.protocol import (
    Stimuli as Stimuli,
)
from .experiment.protocol import (
    Trial as Trial,
)
from .experiment.protocol import (
    score as score,
)
from .experiment.sessions import (
    ProtocolDraw as ProtocolDraw,
)
from .experiment.sessions import (
    Sessions as Sessions,
)
from .experiment.sessions import (
    ShuffledIo as ShuffledIo,
)
from .experiment.sessions import (
    run_sessions as run_sessions,
)
from .experiment.training import TrainingRecording as TrainingRecording
from .files import FileError as FileError
from .fixed import (
    SQ as SQ,
)
from .fixed import (
    UQ as UQ,
)
from .fixed import (
    Overflow as Overflow,
)
from .fixed import (
    QFormat as QFormat,
)
from .fixed import (
    Rounding as Rounding,
)
from .fixed import (
    quantize as quantize,
)
from .fixed import (
    resize as resize,
)
from .microcircuit import MicrocircuitFixed as MicrocircuitFixed
from .microcircuit import MicrocircuitFloat as MicrocircuitFloat
from .recalibration import (
    RecalibrationFixed as RecalibrationFixed,
)
from .recalibration import (
    RecalibrationFloat as RecalibrationFloat,
)
from .recalibration import (
    Status as Status,
)
from .recordings.recording import Recording as Recording
from .recordings.recording import read_recording as read_recording
from .stimulation import Stimulator as Stimulator
