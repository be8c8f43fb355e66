// Power-on reset of the ECP5, for netlists of whole boards: Yosys has no model of it. While SGSR is given 0, flip-flops
// hold what they have at power-up, all but those that say otherwise (``GSR = "DISABLED"``). As in Lattice's "ECP5 and
// ECP5-5G Family Data Sheet" (FPGA-DS-02012), global set and reset; it ends at an edge of its clock.
package ecp5_reset;
    logic released = 0;
endpackage

module SGSR(input GSR, input CLK);
    always @(posedge CLK) ecp5_reset::released <= GSR;
endmodule
