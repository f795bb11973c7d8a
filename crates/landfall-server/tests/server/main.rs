//! What a client sees of the server, called in-process and over a socket, alone and with others over one folder.
mod accounts;
mod files;
mod folder;
mod isolation;
mod parts;
mod processes;
mod reading;
mod socket;
mod uploads;
mod world;
