//! Preview 1's error numbers.

use crate::net::NetError;

/// An `errno`; only those that our functions answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Errno {
    Acces = 2,
    Addrinuse = 3,
    Addrnotavail = 4,
    Afnosupport = 5,
    Again = 6,
    Already = 7,
    Badf = 8,
    Connaborted = 13,
    Connrefused = 14,
    Connreset = 15,
    Destaddrreq = 17,
    Fault = 21,
    Ilseq = 25,
    Inprogress = 26,
    Inval = 28,
    Io = 29,
    Isconn = 30,
    Mfile = 33,
    Msgsize = 35,
    Nametoolong = 37,
    Netunreach = 40,
    Nfile = 41,
    Noent = 44,
    Nomem = 48,
    Nobufs = 42,
    Noprotoopt = 50,
    Notconn = 53,
    Notdir = 54,
    Notsock = 57,
    Notsup = 58,
    Pipe = 64,
    Prototype = 67,
    Spipe = 70,
    Timedout = 73,
    // Those above 76 are WasmEdge's, for name lookups.
    Aiagain = 78,
    Aifail = 80,
    Aifamily = 81,
    Ainodata = 83,
    Ainoname = 84,
    Aiservice = 85,
}

/// What a function returns to the guest: 0, or the error's number.
pub(super) fn answer(result: Result<(), Errno>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(errno) => errno as i32,
    }
}

/// What went wrong with an open directory; a guest can act on little of it.
impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Self {
        use rustix::io::Errno as Os;
        match Os::from_io_error(&error) {
            Some(Os::ACCESS | Os::PERM) => Self::Acces,
            Some(Os::INVAL) => Self::Inval,
            Some(Os::MFILE) => Self::Mfile,
            Some(Os::NFILE) => Self::Nfile,
            Some(Os::NOENT) => Self::Noent,
            Some(Os::NOMEM) => Self::Nomem,
            Some(Os::NOTDIR) => Self::Notdir,
            _ => Self::Io,
        }
    }
}

impl From<NetError> for Errno {
    fn from(error: NetError) -> Self {
        match error {
            NetError::WouldBlock => Self::Again,
            NetError::AccessDenied => Self::Acces,
            NetError::AddressInUse => Self::Addrinuse,
            NetError::AddressNotAvailable => Self::Addrnotavail,
            NetError::FamilyMismatch => Self::Afnosupport,
            NetError::InvalidArgument => Self::Inval,
            NetError::AlreadyConnected => Self::Isconn,
            NetError::AlreadyInProgress => Self::Already,
            NetError::NotConnected => Self::Notconn,
            NetError::DestinationRequired => Self::Destaddrreq,
            NetError::BrokenPipe => Self::Pipe,
            NetError::ConnectionRefused => Self::Connrefused,
            NetError::ConnectionReset => Self::Connreset,
            NetError::ConnectionAborted => Self::Connaborted,
            NetError::NetworkUnreachable => Self::Netunreach,
            NetError::TimedOut => Self::Timedout,
            NetError::DatagramTooLarge => Self::Msgsize,
            NetError::TooManySockets => Self::Mfile,
            NetError::OutOfBuffers => Self::Nobufs,
            NetError::NotSupported => Self::Notsup,
            NetError::NameUnresolvable => Self::Ainoname,
            NetError::TemporaryResolverFailure => Self::Aiagain,
            NetError::PermanentResolverFailure => Self::Aifail,
        }
    }
}
