from .amplifier.amplifier import Amplifier as Amplifier
from .amplifier.spi import SpiMaster as SpiMaster
from .cfpc.arithmetic import MultiplyAdd as MultiplyAdd
from .cfpc.filter import Cfpc as Cfpc
from .cfpc.forward import ForwardModel as ForwardModel
from .cfpc.linked import LinkedCfpc as LinkedCfpc
from .cfpc.map import cfpc_register_map as cfpc_register_map
from .cfpc.program import CfpcTiming as CfpcTiming
from .cfpc.registers import CfpcRegisters as CfpcRegisters
from .chip import Chip as Chip
from .detection.arithmetic import (
    Accumulator as Accumulator,
)
from .detection.arithmetic import (
    FrameCount as FrameCount,
)
from .detection.arithmetic import (
    GainProduct as GainProduct,
)
from .detection.bandpass import BandPass as BandPass
from .detection.detection import Detection as Detection
from .detection.detection import DetectionTiming as DetectionTiming
from .detection.parameters import TableWord as TableWord
from .events import EventKind as EventKind
from .link.frames import Operation as Operation
from .link.frames import RecordKind as RecordKind
from .link.frames import Status as Status
from .link.link import Deframer as Deframer
from .link.link import Framer as Framer
from .link.link import Link as Link
from .link.record_fifo import RecordFifo as RecordFifo
from .link.telemetry import Telemetry as Telemetry
from .link.uart import Uart as Uart
from .linked_chip import LinkedChip as LinkedChip
from .microcircuit.delay_line import DelayLines as DelayLines
from .microcircuit.event_banks import EventBanks as EventBanks
from .microcircuit.microcircuit import Microcircuit as Microcircuit
from .microcircuit.microcircuit import Timing as Timing
from .microcircuit.parameters import Parameter as Parameter
from .microcircuit.rational import RationalEvaluator as RationalEvaluator
from .microcircuit.recalibration import Recalibration as Recalibration
from .registers.file import RegisterFile as RegisterFile
from .registers.map import RegisterMap as RegisterMap
from .registers.map import register_map as register_map
from .registers.rows import RegisterRows as RegisterRows
from .step_timer import StepTimer as StepTimer
from .stimulation.interlock import Interlock as Interlock
from .stimulation.interlock import InterlockFault as InterlockFault
from .stimulation.registers import (
    StimulationRegister as StimulationRegister,
)
from .stimulation.registers import (
    StimulationRegisters as StimulationRegisters,
)
from .stimulation.stimulation import Stimulation as Stimulation
from .toolchain import ToolError as ToolError
from .toolchain import to_verilog as to_verilog
