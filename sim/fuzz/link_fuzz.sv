// The link with its queue of records, ports by names that C++ can spell; see link_fuzz.cpp.
module link_fuzz (
    input  wire clk, rst,
    input  wire rx_valid, rx_error,
    input  wire [7:0] rx,
    output wire tx_valid,
    output wire [7:0] tx,
    input  wire tx_ready,
    output wire bus_valid, bus_write,
    output wire [15:0] bus_address,
    output wire [31:0] bus_write_data,
    input  wire bus_ready,
    input  wire [31:0] bus_read_data,
    input  wire [2:0] bus_status,
    input  wire record_valid,
    input  wire [61:0] record,
    output wire [31:0] lost,
    output wire good, bad
);
    wire records_valid, records_ready, rx_ready;
    wire [61:0] records;
    record_fifo fifo (
        .clk, .rst, .valid(record_valid), .record, .lost,
        .records__valid(records_valid), .records__ready(records_ready), .records__payload(records)
    );
    link link (
        .clk, .rst, .rx__valid(rx_valid), .rx__ready(rx_ready), .rx__payload(rx), .rx_error,
        .tx__valid(tx_valid), .tx__ready(tx_ready), .tx__payload(tx),
        .bus__valid(bus_valid), .bus__write(bus_write), .bus__address(bus_address),
        .bus__write_data(bus_write_data), .bus__ready(bus_ready), .bus__read_data(bus_read_data),
        .bus__status(bus_status),
        .records__valid(records_valid), .records__ready(records_ready), .records__payload(records),
        .good, .bad
    );
endmodule
